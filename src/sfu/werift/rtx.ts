import type { RtpView } from './RtpView.js';

/**
 * Turns a retransmission packet back into the packet it repeats, in place (RFC 4588, section 4):
 * the original sequence number leads the payload. The view is parsed again over the result.
 * False: no payload (bandwidth probing) or malformed; drop it.
 */
export function unwrapRtx(view: RtpView, ssrc: number, payloadType: number): boolean {
  if (view.payloadLength < 3) return false;
  const buffer = view.buffer;
  const originalSequence = buffer.readUInt16BE(view.payloadOffset);
  buffer.copyWithin(2, 0, view.payloadOffset);
  const inner = buffer.subarray(2);
  inner[1] = (view.marker ? 0x80 : 0) | payloadType;
  inner.writeUInt16BE(originalSequence, 2);
  inner.writeUInt32BE(ssrc, 8);
  return view.parse(inner);
}
