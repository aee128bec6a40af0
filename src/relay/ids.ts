import { randomBytes } from 'node:crypto';

/** An id that nobody guesses and that never comes twice: 72 random bits. */
export function newId(): string {
  return randomBytes(9).toString('base64url');
}

/** A secret for taking a session up again: 256 random bits. */
export function newSecret(): string {
  return randomBytes(32).toString('base64url');
}

/** A random synchronization source (RFC 3550): neither 0 nor the all-ones value. */
export function newSsrc(): number {
  return 1 + (randomBytes(4).readUInt32BE() % 0xffff_fffd);
}
