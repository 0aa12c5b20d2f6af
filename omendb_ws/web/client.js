/** The client of OmenDB-WS: import this; client.d.ts says what there is. A page asks for all modules at once. */

import "./client/adder.js";
import "./client/connection.js";
import "./client/feed.js";
import "./client/link.js";
import "./client/live.js";
import "./client/requests.js";
import "./client/seen.js";
import "./client/tokens.js";
export { Client, connect } from "./client/client.js";
export { OmenError } from "./client/errors.js";
export { Answer, decodeFrame, encodeFrame } from "./client/frames.js";
export { Subscription } from "./client/subscription.js";
