/** An element with properties (and `dataset`) and children. */
export function element(name, { dataset = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** Make `list` hold these children in this order; what stays where it is keeps focus and animation. */
export function arrange(list, children) {
  const kept = new Set(children);
  for (const child of [...list.children]) if (!kept.has(child)) child.remove();
  children.forEach((child, at) => {
    if (list.children[at] !== child) list.insertBefore(child, list.children[at] ?? null);
  });
}

/** How long ago that was, in words. */
export function ago(ms) {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  return seconds < 2 ? "now" : `${seconds} s ago`;
}

/** Light an element up, once: without this again wherever it is moved to. */
export function lightUp(element) {
  element.classList.add("new");
  element.addEventListener("animationend", () => element.classList.remove("new"), { once: true });
}
