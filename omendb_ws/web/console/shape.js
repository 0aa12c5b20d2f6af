/** What shapes a query, as controls of its form: read as they stand, and shown to be at fault. */

/** The control that a field of a request comes from; where a member has none of its own, its field's. */
const CONTROLS = {
  vector: "vector", filter: "filter", k: "k", exclude: "exclude", rank: "rank",
  decay: "halfLife", "decay.column": "timeColumn", group: "groupBy", "group.size": "groupSize", spread: "spread",
};
const NUMERIC = ["f64", "i64"];

/** What is wrong with what was typed, before anybody was asked. */
export class Fault extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

export function readJson(text, field, what = field) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault(field, `The ${what} is no JSON.`);
  }
}

/** Anything that is no number goes to the server as it is: what it says of that is shown. */
const numberOf = (text) => (text === "" || Number.isNaN(Number(text)) ? text : Number(text));

/** Ids with commas or line ends between them, or a list in JSON; digits are numbers but among texts. */
function idsOf(text, kind) {
  if (text.startsWith("[")) return readJson(text, "exclude", "list of ids");
  const ids = text.split(/[,\n]/).map((one) => one.trim()).filter(Boolean);
  const isNumber = (one) => kind !== "str" && /^\d{1,20}$/.test(one) && BigInt(one) < 2n ** 64n;
  return ids.map((one) => (isNumber(one) ? BigInt(one) : one));
}

/** An object of what is not empty, or nothing. */
function objectOf(entries) {
  const given = Object.entries(entries).filter(([, value]) => value !== "");
  return given.length ? Object.fromEntries(given) : null;
}

function refill(select, names) {
  const chosen = select.value;
  const options = names.map((name) => new Option(name, name, false, name === chosen));
  select.replaceChildren(select.options[0], ...options);
}

export class Shape {
  constructor(form, problem) {
    Object.assign(this, { form, problem });
    this.details = form.querySelector("details");
    this.details.addEventListener("input", () => this.summarize());
  }

  /** Offer the columns of this collection; a choice that it has too stays. */
  use({ columns, ids }) {
    const { timeColumn, groupBy } = this.form.elements;
    this.ids = ids;
    refill(timeColumn, Object.keys(columns).filter((name) => NUMERIC.includes(columns[name])));
    refill(groupBy, Object.keys(columns));
    this.summarize();
  }

  typed(name) {
    return this.form.elements[name].value.trim();
  }

  /** As options of a live query. */
  options() {
    const [rank, exclude] = [this.typed("rank"), this.typed("exclude")];
    return {
      decay: objectOf({ half_life: numberOf(this.typed("halfLife")), column: this.form.elements.timeColumn.value }),
      rank: rank ? readJson(rank, "rank") : null,
      group: objectOf({ by: this.form.elements.groupBy.value, size: numberOf(this.typed("groupSize")) }),
      spread: objectOf({ max_similarity: numberOf(this.typed("spread")) }),
      exclude: exclude ? idsOf(exclude, this.ids) : null,
    };
  }

  /** So that nothing acts unseen where the controls are folded away. */
  summarize() {
    const isSet = {
      decay: this.typed("halfLife") || this.form.elements.timeColumn.value,
      group: this.form.elements.groupBy.value || this.typed("groupSize"),
      spread: this.typed("spread"), exclude: this.typed("exclude"), rank: this.typed("rank"),
    };
    const names = Object.keys(isSet).filter((name) => isSet[name]);
    this.details.querySelector("summary span").textContent = names.length ? `: ${names.join(", ")}` : "";
  }

  clear() {
    this.problem.textContent = "";
    for (const control of this.form.querySelectorAll("[aria-invalid]")) {
      control.removeAttribute("aria-invalid");
      control.removeAttribute("aria-describedby");
    }
    this.form.after(this.problem);
  }

  /** Say what is wrong, at the control that it is wrong with, if it is one. */
  say(error) {
    this.clear();
    const control = this.form.elements[controlOf(error)];
    if (control) {
      control.setAttribute("aria-invalid", "true");
      control.setAttribute("aria-describedby", this.problem.id);
      if (this.details.contains(control)) this.details.open = true;
      control.closest("label").after(this.problem);
    }
    this.problem.textContent = error.message;
    if (control) this.problem.scrollIntoView({ block: "nearest" });
  }
}

/** Messages of the protocol begin with the code and the field, as `bad_request: decay.half_life: …`. */
function controlOf({ field, code, message }) {
  const named = field ?? (code ? message.slice(`${code}: `.length) : "");
  const [path] = named.split(/[^a-z_.]/, 1);
  return CONTROLS[path] ?? CONTROLS[path.split(".")[0]];
}
