/** Stands in for a picture: the first letter, on a colour of the person's own. */
export function Avatar({ name }: { name: string }) {
  return (
    <div class="avatar" aria-hidden="true" style={{ '--hue': String(hueOf(name)) }}>
      {initialOf(name)}
    </div>
  );
}

/** The first character as people count them: emoji and letters with marks are one. */
export function initialOf(name: string): string {
  const [first] = new Intl.Segmenter().segment(name.trim());
  return (first?.segment ?? '?').toLocaleUpperCase();
}

export function hueOf(name: string): number {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 3_600;
  return hash / 10;
}
