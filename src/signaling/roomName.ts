/** What a room may be called; without dependencies, because the page checks addresses with it. */
export const ROOM_NAME_MAX = 64;
export const ROOM_NAME_PATTERN = /^[\p{L}\p{N}][\p{L}\p{N}_.-]*$/u;
export const ROOM_NAME_RULE = 'letters, digits, "_", "." and "-" only, beginning with a letter or digit';

export function isRoomName(text: string): boolean {
  return text.length <= ROOM_NAME_MAX && ROOM_NAME_PATTERN.test(text);
}
