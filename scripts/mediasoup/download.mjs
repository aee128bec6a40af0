import { chmod, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { basename } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Given up when nothing arrives for this long. */
const STALL_TIMEOUT_MS = 10_000;
const MAX_ARCHIVE_BYTES = 200 * 2 ** 20;
const TAR_BLOCK_BYTES = 512;

/**
 * The address from which mediasoup's own install script takes a prebuilt worker (its npm-scripts.mjs).
 *
 * @param {{version: string, repository: {url: string}}} mediasoupPackage mediasoup's package.json
 * @param {Record<string, string | undefined>} [env]
 */
export function prebuiltWorkerUrl({ version, repository }, env = process.env) {
  const base =
    env.MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL ||
    `${repository.url.replace(/^git\+/, '').replace(/\.git$/, '')}/releases/download`;
  // Prebuilt workers for Linux differ by kernel, because of io_uring.
  const kernel = process.platform === 'linux' ? `-kernel${release().split('.')[0]}` : '';
  const name = `mediasoup-worker-${version}-${process.platform}-${process.arch}${kernel}.tgz`;
  return `${base}/${version}/${name}`;
}

/**
 * Downloads an archive and writes the worker inside it to a file, executable.
 *
 * @param {string} url
 * @param {string} file
 * @param {AbortSignal} [signal]
 * @throws {Error} whose message says in one line why it could not
 */
export async function downloadPrebuiltWorker(url, file, signal) {
  const archive = await fetchWithStallTimeout(url, signal);
  const worker = fileInTar(gunzipSync(archive), /^mediasoup-worker(\.exe)?$/);
  if (!worker) throw new Error('the archive holds no mediasoup-worker');
  await writeFile(file, worker);
  await chmod(file, 0o755);
}

/**
 * @param {string} url
 * @param {AbortSignal | undefined} signal
 */
async function fetchWithStallTimeout(url, signal) {
  const stall = new AbortController();
  const timer = setTimeout(() => stall.abort(), STALL_TIMEOUT_MS);
  try {
    const signals = signal ? [stall.signal, signal] : [stall.signal];
    const response = await fetch(url, { signal: AbortSignal.any(signals) });
    if (response.status === 404) throw new Error('none is published for this platform (404)');
    if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
    const chunks = [];
    let bytes = 0;
    for await (const chunk of response.body) {
      timer.refresh();
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_ARCHIVE_BYTES) throw new Error('the archive is far too large');
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (stall.signal.aborted) {
      throw new Error(`${new URL(url).host} sent nothing for ${STALL_TIMEOUT_MS / 1000} s`);
    }
    // fetch() says only "fetch failed"; what failed is in the cause.
    const { message, cause } = /** @type {Error} */ (error);
    throw new Error(cause instanceof Error && cause.message ? cause.message : message);
  } finally {
    clearTimeout(timer);
    stall.abort(); // closes the connection, whatever is left of the answer
  }
}

/**
 * @param {Buffer} tar
 * @param {RegExp} name of the file wanted, without its folder
 * @returns {Buffer | undefined}
 */
function fileInTar(tar, name) {
  for (let at = 0; at + TAR_BLOCK_BYTES <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(tarField(tar, at + 124, 12), 8);
    const type = tarField(tar, at + 156, 1);
    const body = at + TAR_BLOCK_BYTES;
    if (!Number.isSafeInteger(size) || body + size > tar.length) throw new Error('the archive is damaged');
    const isFile = type === '' || type === '0';
    if (isFile && name.test(basename(tarField(tar, at, 100)))) return tar.subarray(body, body + size);
    at = body + Math.ceil(size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return undefined;
}

/**
 * @param {Buffer} tar
 * @param {number} start
 * @param {number} length
 */
function tarField(tar, start, length) {
  const text = tar.toString('latin1', start, start + length);
  const end = text.indexOf('\0');
  return (end < 0 ? text : text.slice(0, end)).trim();
}
