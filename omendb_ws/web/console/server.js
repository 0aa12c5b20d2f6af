/** The numbers of the server, or of one's tenant: for tokens that may see them. */

import { charts } from "./charts.js";
import { mayEverywhere } from "./rights.js";

export class ServerNumbers {
  /** `evictions()` are those of all collections; `isWhole(is)` is told whether all of the server is seen. */
  constructor(section, evictions, isWhole) {
    Object.assign(this, { evictions, isWhole, watch: null });
    [this.title, this.about, this.problem, this.grid] =
      ["h2", ".about", ".problem", ".grid"].map((name) => section.querySelector(name));
    this.charts = charts(this.grid);
  }

  use(db) {
    this.watch?.close();
    this.isWhole(false);
    const { identity } = db;
    // Of another tenant these are other numbers.
    if (identity?.tenant !== this.tenant) this.charts.clear();
    this.tenant = identity?.tenant;
    const isAllowed = mayEverywhere(identity, "admin");
    this.grid.hidden = !isAllowed;
    this.problem.textContent = "";
    this.about.textContent = isAllowed ? "" : "Its numbers take the right operator, or admin on every collection, and this token has neither.";
    this.title.textContent = "Server";
    if (!isAllowed) return void (this.watch = null);
    const watch = (this.watch = db.watchStats(null, { every: 1000 }));
    watch.addEventListener("data", ({ detail }) => {
      if (watch !== this.watch) return;
      // Of a tenant these are null.
      const isWhole = detail.rss_bytes !== null;
      this.title.textContent = isWhole ? "Server" : `The tenant ${identity?.tenant}`;
      this.isWhole(isWhole);
      this.charts.push(detail, { isWhole, evictions: this.evictions() });
    });
    watch.addEventListener("state", () => {
      if (watch !== this.watch || db.state === "closed") return;
      if (watch.error) this.problem.textContent = watch.error.message;
      else if (watch.reason === "forbidden") this.use(db);
    });
  }
}
