/** Sentences for the reason codes of docs/protocol.md: why a picture is not restored. */
const SENTENCES: Record<string, string> = {
  starting: 'Restoration is starting.',
  overloaded: 'The relay has no capacity for this picture right now.',
  'already-sharp': 'This picture is sent sharp already; there is nothing to restore.',
  'unsupported-codec': 'The relay cannot decode what this participant sends.',
  'unsupported-size': 'The picture has a size that the model does not take.',
  'model-failed': 'The restoration model failed on this picture.',
  'no-input': 'No picture arrives from this participant.',
  'restorer-down': 'The restorer stopped; it is being restarted.',
  'opted-out': 'This participant does not want to be restored.',
  screen: 'Shared screens are shown as they are.',
  audio: 'Audio is never changed.',
  disabled: 'Restoration is switched off on this relay.',
  'at-capacity': 'The relay restores as many pictures as it can; this one comes next.',
  'thin-downlink': 'Your connection is too slow for the restored picture.',
};

export function reasonSentence(code: string | null): string | null {
  if (code === null) return null;
  return SENTENCES[code] ?? `Not restored (${code}).`;
}

/** A few words for the tile itself; nothing where a person has no reason to wonder. */
const LABELS: Record<string, string> = {
  starting: 'Restoration starts…',
  overloaded: 'Relay busy, not restored',
  'unsupported-codec': 'Cannot be restored',
  'unsupported-size': 'Cannot be restored',
  'model-failed': 'Cannot be restored',
  'restorer-down': 'Restoration comes back…',
  'opted-out': 'Opted out of restoration',
  'at-capacity': 'Relay busy, not restored',
  'thin-downlink': 'Your connection is too slow',
};

export function reasonLabel(code: string | null): string | null {
  return code === null ? null : (LABELS[code] ?? null);
}

const FAILURES: Record<string, { title: string; advice: string }> = {
  'room-full': { title: 'This room is full', advice: 'Ask somebody to leave, or choose another room.' },
  unauthorized: {
    title: 'You need an invitation',
    advice: 'Joining takes a link with a token: ask whoever invited you.',
  },
  forbidden: {
    title: 'This invitation is for another room or name',
    advice: 'Open the link you were given, unchanged.',
  },
  'limit-reached': {
    title: 'The relay is full',
    advice: 'It serves as many rooms as it may. Try again later.',
  },
  'bad-request': { title: 'The relay did not accept this', advice: 'Check the name and the room.' },
  conflict: {
    title: 'This call goes on in another window',
    advice: 'Go on there, or join here once more.',
  },
  unsupported: {
    title: 'This page is out of date',
    advice: 'Reload it to get the version that fits the relay.',
  },
  unavailable: {
    title: 'The relay cannot be reached',
    advice: 'Check your connection, then try again.',
  },
};

/** `message` is the relay's own; it is shown only where it says more than the sentences here. */
export function failureText(code: string, message = ''): { title: string; advice: string } {
  if (code === 'unauthorized' && message.includes('expired')) {
    return { title: 'This invitation has expired', advice: 'Ask for a new link.' };
  }
  if (code === 'unauthorized' && !message.includes('needs a join token')) {
    return { title: 'This invitation is not valid', advice: 'Open the link you were given, unchanged.' };
  }
  const known = FAILURES[code];
  if (known && code !== 'bad-request') return known;
  const { title, advice } = known ?? {
    title: 'Joining failed',
    advice: 'Try again; if it stays so, tell whoever runs this relay.',
  };
  return { title, advice: message ? `${advice} (${message})` : advice };
}
