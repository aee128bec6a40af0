#!/usr/bin/env node
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (!existsSync(main)) {
  console.error('vireo: not built yet; run `npm run setup` in the clone first');
  process.exit(1);
}
const cli = await import(main.href);
await cli.main(process.argv);
