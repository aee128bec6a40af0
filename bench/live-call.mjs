#!/usr/bin/env node
/**
 * A call through a real relay without browsers on its cores. Run after `npm run build`; prints JSON, and a
 * table on stderr. What it measures is described in liveCall.ts.
 *
 *   node bench/live-call.mjs [--engine werift,mediasoup] [--seconds 30] [--height 180|360] [--model NAME]
 */
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

// Inside node_modules, so that packages resolve; two levels down, as the sources it is made of expect.
const bundle = fileURLToPath(new URL('../node_modules/.vireo-bench/live-call.mjs', import.meta.url));
await mkdir(fileURLToPath(new URL('../node_modules/.vireo-bench', import.meta.url)), { recursive: true });
await build({
  entryPoints: [fileURLToPath(new URL('liveCall.ts', import.meta.url))],
  outfile: bundle,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
});
const { main } = await import(bundle);
await main(process.argv.slice(2));
