/** How a browser codes stills, with the AV1 encoders that browsers have. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser } from '../support/browser.js';

const module = fileURLToPath(new URL('../../web-client/src/session/stillCoding.ts', import.meta.url));
let server: Server;
let browser: Browser;
let bundle: string;

beforeAll(async () => {
  const built = buildSync({
    entryPoints: [module],
    bundle: true,
    format: 'iife',
    globalName: 'coding',
    write: false,
  });
  bundle = built.outputFiles[0]?.text ?? '';
  // Encoders are there for secure pages alone, and `localhost` is one.
  server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<title>stills</title><link rel="icon" href="data:,">');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await Browser.launch();
});

afterAll(async () => {
  await browser?.close();
  server?.close();
});

/** An encoder that knows quantizers up to 63, and what it does with larger ones. */
const upTo63 = (larger: string) => `{
  const { encode } = VideoEncoder.prototype;
  VideoEncoder.prototype.encode = function (frame, { av1: { quantizer } }) {
    if (quantizer > 63) { ${larger} }
    encode.call(this, frame, { keyFrame: true, av1: { quantizer: Math.min(255, quantizer * 4) } });
  };
}`;

async function codings(change: string): Promise<string[]> {
  const { port } = server.address() as AddressInfo;
  const page = await browser.open(
    `http://localhost:${port}/`,
    `${change}\n${bundle}\nglobalThis.coding = coding;`,
  );
  const found = await page.evaluate(async () => {
    const { coding } = globalThis as unknown as {
      coding: { stillCodings(): Promise<{ mimeType: string }[]> };
    };
    return (await coding.stillCodings()).map(({ mimeType }) => mimeType);
  });
  await page.close();
  return found;
}

describe('stills are coded', () => {
  it.each([
    ['as AVIF, or else WebP, by this browser', '', ['image/avif', 'image/webp']],
    ['as WebP without an encoder for AV1', 'delete globalThis.VideoEncoder;', ['image/webp']],
    ['as WebP where the encoder fails', upTo63('throw new TypeError("out of range");'), ['image/webp']],
    [
      'as WebP where it has 63 quantizers and takes the last one for all others',
      upTo63('quantizer = 63;'),
      ['image/webp'],
    ],
    [
      'not at all where there is neither',
      'delete globalThis.VideoEncoder; HTMLCanvasElement.prototype.toBlob = function (done) { done(null); };',
      [],
    ],
  ])('%s', async (_, change, expected) => {
    expect(await codings(change)).toEqual(expected);
  });
});
