/** An element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** For whom a message is, in words; `me` is the one who reads. */
export function audience({ public: isPublic, author, to }, me) {
  if (isPublic) return "";
  if (to === author) return "only for you";
  return to === me ? "to you" : `to ${to}`;
}
