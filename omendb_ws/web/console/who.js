/** Who one is here: the token's tenant and rights in a line, its grants below, and how long it lasts. */

import { seconds } from "./numbers.js";
import { told } from "./rights.js";

/** An end that is so near is told of where everybody sees it. */
const NEAR_SECONDS = 300;

export class Who {
  /** Shows in `details`, and in `notice` an end that is near; `another()` is asked for another token. */
  constructor(details, notice, another) {
    Object.assign(this, { details, notice, identity: null, isWanted: false });
    [this.line, this.ends] = details.querySelectorAll("summary span");
    this.grants = details.querySelector("ul");
    this.another = details.querySelector("button");
    this.said = notice.querySelector("span");
    for (const place of [details, notice]) place.querySelector("button").addEventListener("click", another);
    setInterval(() => this.tick(), 1000);
  }

  show(identity) {
    this.identity = identity;
    this.details.hidden = false;
    // Of a server without keys nobody has a token.
    this.another.hidden = !identity;
    const { tenant, rights, grants } = identity ?? { grants: [] };
    this.line.textContent = identity
      ? `tenant ${tenant}: ${rights.join(", ") || "no rights"}`
      : "no tokens here: everybody may do everything";
    this.grants.replaceChildren(...grants.map((grant) => {
      const line = document.createElement("li");
      line.textContent = told(grant);
      return line;
    }));
    this.tick();
  }

  /** Whether a newer token is waited for, as this one will end. */
  want(isWanted) {
    this.isWanted = isWanted;
    this.tick();
  }

  /** Null where it does not end. */
  get leftSeconds() {
    const at = this.identity?.expiresAt;
    return at == null ? null : Math.max(0, (at - Date.now()) / 1000);
  }

  tick() {
    const left = this.leftSeconds;
    this.ends.textContent = left === null ? "" : left > 0 ? `, ends in ${seconds(Math.ceil(left))}` : ", has ended";
    this.notice.hidden = !this.isWanted || left === null || left > NEAR_SECONDS;
    // It is read out when it changes: a countdown would be read out for ever.
    const near = left > 0 ? "This token ends soon." : "This token has ended.";
    if (!this.notice.hidden && this.said.textContent !== near) this.said.textContent = near;
  }
}
