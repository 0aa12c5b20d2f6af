/**
 * A text as a vector, by hashing: each word and each three letters in a row count into one of `dim`
 * places, up or down. So texts with words in common are near to each other, and meaning is unknown to
 * it. It is small enough for an example; in earnest an embedding model of yours takes its place.
 */

/** FNV-1a, 32 bits. */
function hash(text) {
  let found = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) found = Math.imul(found ^ text.charCodeAt(at), 0x01000193);
  return found >>> 0;
}

function features(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [text];
  const triples = words.flatMap((word) =>
    Array.from({ length: Math.max(0, word.length - 2) }, (_, at) => `~${word.slice(at, at + 3)}`));
  return [...words.flatMap((word) => [word, word]), ...triples];
}

export function embed(text, dim) {
  const vector = new Float32Array(dim);
  for (const feature of features(text)) {
    const code = hash(feature);
    vector[code % dim] += code & 0x10000 ? 1 : -1;
  }
  // What cancels itself out has no direction.
  if (vector.every((one) => one === 0)) vector[hash(text) % dim] = 1;
  return vector;
}
