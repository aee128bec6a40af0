/**
 * Changes only when an older client could no longer talk to the relay. Apart from the messages, so that the page
 * has it without their validation.
 */
export const PROTOCOL_VERSION = 1;
