/** What versions of collections were seen: after a reconnect reads ask for no older ones. */

export class Seen {
  newest = new Map();

  /** `ask(fields)`, asked for what must be said on `link` lest time run backwards; in `epoch`, where it says one. */
  async read(link, collection, ask, epoch) {
    const newest = link.reached.has(collection) ? null : this.newest.get(collection);
    const wanted = epoch && newest?.epoch !== epoch ? null : newest;
    try {
      return this.note(link, collection, await ask(wanted));
    } catch (error) {
      // It has begun anew.
      if (wanted && error?.code === "wrong_epoch") {
        this.newest.delete(collection);
        error.isOfSeen = !epoch;
      }
      throw error;
    }
  }

  note(link, collection, answer) {
    if (collection != null && answer?.version !== undefined) this.keep(link, collection, answer).catch(() => {});
    return answer;
  }

  async keep(link, collection, { version, epoch: stated }) {
    const known = this.newest.get(collection)?.epoch;
    const epoch = stated ?? known ?? (await link.open(collection)).epoch;
    const newest = this.newest.get(collection);
    if (!epoch || (newest?.epoch === epoch && newest.min_version > version)) return;
    this.newest.set(collection, { min_version: version, epoch });
    link.reached.add(collection);
  }
}
