/**
 * Where the mediasoup worker for one mediasoup version is kept on this machine, as an absolute path.
 * The file need not exist. Set `MEDIASOUP_WORKER_BIN` to it before the first `import('mediasoup')`.
 */
export function mediasoupWorkerCachePath(version: string, env?: Record<string, string | undefined>): string;
