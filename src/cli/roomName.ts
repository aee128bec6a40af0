import { randomInt } from 'node:crypto';

const QUALITIES =
  'amber bright calm clear coral gentle golden green happy lucky misty quiet silver sunny swift warm'.split(
    ' ',
  );
const PLACES =
  'bay brook cove creek delta dune falls fjord garden grove harbour hill island lake meadow river'.split(' ');

/** A room name that is easy to say on the phone. */
export function friendlyRoomName(): string {
  const pick = (words: readonly string[]) => words[randomInt(words.length)] ?? 'room';
  return `${pick(QUALITIES)}-${pick(PLACES)}`;
}
