/**
 * The client of OmenDB-WS for browsers and Node: import this. Nothing to build, nothing else needed.
 * What everything takes, gives and promises stands in client.d.ts. All modules are named here, so that
 * a page asks for them at once.
 */

import "./client/adder.js";
import "./client/connection.js";
import "./client/feed.js";
import "./client/link.js";
import "./client/live.js";
import "./client/requests.js";
import "./client/tokens.js";
export { Client, connect } from "./client/client.js";
export { OmenError } from "./client/errors.js";
export { Answer, decodeFrame, encodeFrame } from "./client/frames.js";
export { Subscription } from "./client/subscription.js";
