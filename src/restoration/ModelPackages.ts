/**
 * Finds and loads model packages: folders that hold `manifest.json` and the ONNX files it names. Nothing is
 * trusted before it was checked: names cannot leave their folder, files are bounded, checksums must match.
 */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { bundledModelsUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import { type Manifest, manifestSchema, type Variant } from './manifest.js';
import type { ModelPackage } from './types.js';

export const MANIFEST_FILE = 'manifest.json';
const PACKAGE_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;
const MAX_MANIFEST_BYTES = 1 << 20;
/** Protobuf's own limit for one ONNX file. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;
const MAX_LADDER = 8;

/** What one folder holds, without reading its ONNX files. */
export interface ModelListing {
  name: string;
  directory: string;
  manifest: Manifest | null;
  /** Why the package cannot be used; null when its manifest is fine. */
  problem: string | null;
}

export class ModelPackages {
  readonly #directories: readonly string[];

  private constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  /** `directories` are searched in order, then Vireo's own; the first folder that has the name wins. */
  static create(directories: readonly string[] = []): ModelPackages {
    return new ModelPackages([
      ...directories.map((directory) => resolve(directory)),
      fileURLToPath(bundledModelsUrl),
    ]);
  }

  /** Every package in reach, each name once, sorted. Broken ones are listed with their problem. */
  async list(): Promise<ModelListing[]> {
    const found = new Map<string, ModelListing>();
    for (const root of this.#directories) {
      const entries = await readdir(root).catch(() => []);
      for (const name of entries.sort()) {
        if (found.has(name) || !PACKAGE_NAME.test(name)) continue;
        const directory = join(root, name);
        if (!(await isFile(join(directory, MANIFEST_FILE)))) continue;
        found.set(name, await listing(name, directory));
      }
    }
    return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  /** Reads one package and checks every file it names. */
  async load(name: string): Promise<ModelPackage> {
    const directory = await this.#find(name);
    const manifest = await readManifest(name, directory);
    const files = new Map<string, Uint8Array>();
    for (const { file, field, sha256 } of manifest.variants.flatMap(filesOf)) {
      const bytes = files.get(file) ?? (await readModelFile(name, directory, file));
      checkSha256(name, { file, field, sha256 }, bytes);
      files.set(file, bytes);
    }
    return { directory, manifest, files };
  }

  /** The package and those its `lighter` chain names, the heaviest first: the load ladder. */
  async loadLadder(name: string): Promise<ModelPackage[]> {
    const ladder: ModelPackage[] = [];
    for (let next: string | undefined = name; next !== undefined; ) {
      if (ladder.some((step) => step.manifest.name === next)) {
        throw invalid(name, `field lighter: the chain comes back to "${next}"`);
      }
      if (ladder.length === MAX_LADDER) {
        throw invalid(name, `field lighter: the chain is longer than ${MAX_LADDER} packages`);
      }
      const heavier = ladder.at(-1);
      const step: ModelPackage = await this.load(next).catch((thrown: unknown) => {
        if (heavier === undefined) throw thrown;
        const reason = VireoError.from(thrown).message;
        throw invalid(heavier.manifest.name, `field lighter: ${reason}`, thrown);
      });
      if (heavier !== undefined) checkLighter(heavier.manifest, step.manifest);
      ladder.push(step);
      next = step.manifest.lighter;
    }
    return ladder;
  }

  async #find(name: string): Promise<string> {
    if (!PACKAGE_NAME.test(name)) {
      throw new VireoError(
        'model-invalid',
        `model "${name}": the name must be lower-case letters, digits and hyphens`,
      );
    }
    for (const root of this.#directories) {
      const directory = join(root, name);
      if (await isFile(join(directory, MANIFEST_FILE))) return directory;
    }
    const names = (await this.list()).map((entry) => entry.name);
    const there = names.length > 0 ? `there is: ${names.join(', ')}` : 'none is installed';
    throw new VireoError(
      'not-found',
      `model "${name}" was not found in ${this.#directories.join(', ')}; ${there}`,
    );
  }
}

async function listing(name: string, directory: string): Promise<ModelListing> {
  try {
    return { name, directory, manifest: await readManifest(name, directory), problem: null };
  } catch (thrown) {
    return { name, directory, manifest: null, problem: VireoError.from(thrown).message };
  }
}

async function readManifest(name: string, directory: string): Promise<Manifest> {
  const path = join(directory, MANIFEST_FILE);
  if ((await statOf(path))?.isFile() !== true)
    throw invalid(name, `${MANIFEST_FILE} is missing in ${directory}`);
  if (((await statOf(path))?.size ?? 0) > MAX_MANIFEST_BYTES) {
    throw invalid(name, `${MANIFEST_FILE} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  }
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (thrown) {
    throw invalid(name, `${MANIFEST_FILE} is not JSON: ${VireoError.from(thrown).message}`, thrown);
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw invalid(name, `${MANIFEST_FILE}: ${firstIssue(parsed.error)}`, parsed.error);
  if (parsed.data.name !== name) {
    throw invalid(name, `${MANIFEST_FILE}: field name is "${parsed.data.name}" but its folder is "${name}"`);
  }
  return parsed.data;
}

async function readModelFile(name: string, directory: string, file: string): Promise<Uint8Array> {
  const path = join(directory, file);
  const found = await statOf(path);
  if (found?.isFile() !== true) throw invalid(name, `file ${file} is missing in ${directory}`);
  if (found.size > MAX_MODEL_BYTES)
    throw invalid(name, `file ${file} is larger than ${MAX_MODEL_BYTES} bytes`);
  const [realFile, realDirectory] = await Promise.all([realpath(path), realpath(directory)]);
  if (!realFile.startsWith(realDirectory + sep)) {
    throw invalid(name, `file ${file} is a link to ${realFile}, outside of the package`);
  }
  return await readFile(path);
}

/** A file, and the manifest's field that says what its checksum must be. */
interface NamedFile {
  file: string;
  field: string;
  sha256: string;
}

function filesOf({ file, sha256, references }: Variant): NamedFile[] {
  const own = { file, field: 'sha256', sha256 };
  if (references === undefined) return [own];
  const { tablesFile, tablesSha256 } = references;
  return [
    own,
    { file: references.file, field: 'references.sha256', sha256: references.sha256 },
    { file: tablesFile, field: 'references.tablesSha256', sha256: tablesSha256 },
  ];
}

function checkSha256(name: string, { file, field, sha256 }: NamedFile, bytes: Uint8Array): void {
  const actual = createHash('sha256').update(bytes).digest('hex');
  if (actual === sha256) return;
  throw invalid(
    name,
    `file ${file} is refused: its SHA-256 is ${actual}, but field ${field} of ${MANIFEST_FILE} says ${sha256}`,
  );
}

/**
 * Stepping down keeps the input and output sizes, so a lighter model must enlarge whatever the heavier enlarges.
 * For other tasks it need not have anything: below the heavier model there is the original then.
 */
function checkLighter(heavier: Manifest, lighter: Manifest): void {
  for (const variant of heavier.variants) {
    if (variant.task !== 'sr') continue;
    const stands = lighter.variants.some(
      (other) =>
        other.task === variant.task && other.scale === variant.scale && variant.fold % other.fold === 0,
    );
    if (stands) continue;
    throw invalid(
      heavier.name,
      `field lighter: "${lighter.name}" has no variant for task ${variant.task}, scale ${variant.scale} and fold ${variant.fold} (${variant.file})`,
    );
  }
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'is not valid';
  const field = issue.path.length > 0 ? issue.path.join('.') : '(root)';
  return `field ${field}: ${issue.message}`;
}

function invalid(name: string, message: string, cause?: unknown): VireoError {
  return new VireoError('model-invalid', `model "${name}": ${message}`, { cause });
}

async function statOf(path: string): Promise<Stats | undefined> {
  return await stat(path).catch(() => undefined);
}

async function isFile(path: string): Promise<boolean> {
  return (await statOf(path))?.isFile() === true;
}
