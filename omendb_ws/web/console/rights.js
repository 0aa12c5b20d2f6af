/**
 * What a token may, of what the client tells of it (PROTOCOL section 9). No identity: a server without
 * keys, where everybody may do everything. The server decides; this is for what is offered.
 */

/** Whether `name` is what `pattern` says; `*` stands for any characters. */
function matches(pattern, name) {
  const [first, ...rest] = pattern.split("*");
  if (!rest.length) return name === pattern;
  const last = rest.pop();
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let left = name.slice(first.length, name.length - last.length);
  return rest.every((part) => {
    const at = left.indexOf(part);
    left = left.slice(at + part.length);
    return at >= 0;
  });
}

const holding = (identity, right, name) =>
  identity.grants.filter(({ collections, rights }) =>
    rights.includes(right) && collections.some((pattern) => matches(pattern, name)));

export const may = (identity, right, name) => !identity || holding(identity, right, name).length > 0;

/** Whether it sees some rows only: some numbers are not told to it then. */
export const isFiltered = (identity, name) =>
  identity !== null && holding(identity, "read", name).every(({ filter }) => filter !== undefined);

/** Whether it holds `right` on every collection, whole. */
export const mayEverywhere = (identity, right) =>
  !identity || identity.grants.some(({ collections, rights, filter }) =>
    rights.includes(right) && collections.includes("*") && filter === undefined);

const list = (names) => names.join(", ");

/** A grant in a line. */
export function told({ collections, rights, filter, stamp }) {
  const where = collections.includes("*") ? "every collection" : list(collections);
  const parts = [`${list(rights)} on ${where}`];
  if (filter) parts.push(`rows that pass ${JSON.stringify(filter)}`);
  if (stamp) parts.push(`what it writes gets ${JSON.stringify(stamp)}`);
  return parts.join("; ");
}
