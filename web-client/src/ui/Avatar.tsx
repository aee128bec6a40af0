import { hueOf, initialOf } from './initial.js';

/** Stands in for a picture: the first letter, on a colour of the person's own. */
export function Avatar({ name }: { name: string }) {
  return (
    <div class="avatar" aria-hidden="true" style={{ '--hue': String(hueOf(name)) }}>
      {initialOf(name)}
    </div>
  );
}
