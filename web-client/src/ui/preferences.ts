/** The person's own choices, kept in this browser. */
import type { View } from '../../../src/signaling/messages.js';

export interface Preferences {
  name: string;
  uplinkBps: number | null;
  view: View;
  restorable: boolean;
  sendStills: boolean;
  cameraId: string;
  microphoneId: string;
  speakerId: string;
}

const KEY = 'vireo.preferences';

export function loadPreferences(): Partial<Preferences> {
  try {
    const parsed: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof parsed === 'object' && parsed !== null ? (parsed as Partial<Preferences>) : {};
  } catch {
    return {};
  }
}

export function savePreferences(change: Partial<Preferences>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...loadPreferences(), ...change }));
  } catch {
    // Private windows may refuse; the choice then lasts as long as the page.
  }
}
