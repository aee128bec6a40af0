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

const FAILURES: Record<string, { title: string; advice: string }> = {
  'room-full': { title: 'This room is full', advice: 'Ask somebody to leave, or choose another room.' },
  unauthorized: {
    title: 'You need an invitation',
    advice: 'Open the complete link you were given: it carries a token.',
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
    title: 'You joined from somewhere else',
    advice: 'The call goes on there; joining here again takes it back.',
  },
  unsupported: {
    title: 'This page is out of date',
    advice: 'Reload it to get the version that fits the relay.',
  },
  unavailable: {
    title: 'The relay cannot be reached',
    advice: 'Check your connection. The page keeps trying.',
  },
};

export function failureText(code: string): { title: string; advice: string } {
  return (
    FAILURES[code] ?? {
      title: 'Joining failed',
      advice: 'Try again; if it stays so, tell whoever runs this relay.',
    }
  );
}
