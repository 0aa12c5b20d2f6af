/** How answers look: neighbours as pictures, their votes as bars, and who wins. */

import { SIDE } from "./paper.js";

const DIGITS = 10;
/** A neighbour whose score is this much lower has a vote of 1/e. */
const VOTE_WIDTH = 0.05;

/** An 8 x 8 image (any scale; null: nothing) in the colour of the canvas' text. */
export function paint(canvas, vector) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, SIDE, SIDE);
  if (!vector) return;
  context.fillStyle = getComputedStyle(canvas).color;
  const most = Math.max(...vector);
  vector.forEach((ink, pixel) => {
    context.globalAlpha = Math.max(0, ink / most);
    context.fillRect(pixel % SIDE, Math.floor(pixel / SIDE), 1, 1);
  });
  context.globalAlpha = 1;
}

/** The share of the vote that each digit has, the nearer a neighbour the more it counts. */
export function votes(rows) {
  const counts = new Float64Array(DIGITS);
  for (const { score, metadata } of rows) {
    counts[metadata.digit] += Math.exp((score - rows[0].score) / VOTE_WIDTH);
  }
  const all = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => count / all);
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

/** Shows the newest answer at the next frame, however many come in between. */
export class View {
  constructor(section, list) {
    this.winner = section.querySelector("#winner");
    this.said = section.querySelector("#said");
    this.list = list;
    this.answer = null;
    this.isDue = false;
    this.cards = new Map();
    this.bars = Array.from({ length: DIGITS }, (_, digit) => element("li", element("i"), `${digit}`));
    section.querySelector("#votes").replaceChildren(...this.bars);
    const repaint = () => {
      this.cards.clear();
      this.show(this.answer);
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    this.show(null);
  }

  show(answer) {
    this.answer = answer;
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw(this.answer ? [...this.answer] : []);
    });
  }

  draw(rows) {
    const shares = rows.length ? votes(rows) : new Float64Array(DIGITS);
    const best = rows.length ? shares.indexOf(Math.max(...shares)) : -1;
    this.bars.forEach((bar, digit) => {
      // As a property, which the policy allows; an attribute would be inline style.
      bar.firstChild.style.height = `${Math.round(75 * shares[digit])}%`;
      bar.classList.toggle("won", digit === best);
    });
    this.say(best, shares[best]);
    const cards = new Map(rows.map((row) => [row.seq, this.cards.get(row.seq) ?? this.card(row)]));
    for (const row of rows) cards.get(row.seq).querySelector("span").textContent = row.score.toFixed(3);
    this.cards = cards;
    this.list.replaceChildren(...cards.values());
    // Their colour is known only once they stand in the page.
    for (const row of rows) {
      const card = cards.get(row.seq);
      if (!card.dataset.painted) paint(card.firstChild, row.vector);
      card.dataset.painted = "yes";
    }
  }

  say(best, share) {
    const [digit, about] = this.winner.children;
    digit.textContent = best < 0 ? "–" : best;
    about.textContent = best < 0 ? "Draw with mouse, pen or finger." : `${Math.round(100 * share)} % of the vote`;
    const known = best < 0 ? "" : `${best}`;
    if (this.winner.dataset.digit === known) return;
    this.winner.dataset.digit = known;
    this.said.textContent = known && `It is a ${known}`;
  }

  card({ metadata }) {
    const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
    return element("li", canvas, element("b", `${metadata.digit}`), " ", element("span"));
  }
}
