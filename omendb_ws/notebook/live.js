// The table of a live query in a notebook: drawn anew with each answer, rows that have just come stand out.
// What it is given are texts, and it sets them as texts.

const STYLE = "font-variant-numeric: tabular-nums; border-collapse: collapse";
const NEW = "background: color-mix(in srgb, currentColor 12%, transparent)";

function cells(kind, texts) {
  const row = document.createElement("tr");
  for (const text of texts) {
    const cell = document.createElement(kind);
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

function table(shown) {
  const made = document.createElement("table");
  made.setAttribute("style", STYLE);
  const caption = document.createElement("caption");
  caption.textContent = `${shown.collection}, version ${shown.version}: ${shown.state}`;
  made.append(caption, cells("th", shown.names));
  shown.rows.forEach((texts, at) => {
    const row = cells("td", texts);
    if (shown.entered[at]) row.setAttribute("style", NEW);
    made.append(row);
  });
  return made;
}

function render({ model, el }) {
  const draw = () => {
    const shown = model.get("shown");
    if (shown.names !== undefined) el.replaceChildren(table(shown));
  };
  model.on("change:shown", draw);
  draw();
  return () => model.off("change:shown", draw);
}

export default { render };
