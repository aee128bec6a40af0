export interface LockEntry {
  version?: string;
  optionalDependencies?: Record<string, string>;
}
/** Optional packages of other platforms that a lock file lacks. */
export function missingOptionalPackages(
  packages: Record<string, LockEntry>,
): { name: string; version: string; by: LockEntry }[];
