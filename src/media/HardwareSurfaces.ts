import { AV_HWDEVICE_TYPE_VAAPI, AV_PIX_FMT_NV12, AV_PIX_FMT_VAAPI } from 'node-av/constants';
import { type CodecContext, Frame, HardwareDeviceContext, HardwareFramesContext } from 'node-av/lib';
import { ffmpegReason } from './ffmpeg.js';

/** One picture in, one being encoded, and what the driver keeps. */
const POOL_SIZE = 8;

/** Pictures in a VAAPI device's memory, for its encoder, which takes no others. */
export class HardwareSurfaces {
  readonly #device: HardwareDeviceContext;
  readonly #frames: HardwareFramesContext;
  readonly #surface = new Frame();

  private constructor(device: HardwareDeviceContext, frames: HardwareFramesContext) {
    this.#device = device;
    this.#frames = frames;
    this.#surface.alloc();
  }

  /** The reason instead when this machine has no such device. */
  static create(width: number, height: number): HardwareSurfaces | string {
    const device = new HardwareDeviceContext();
    const frames = new HardwareFramesContext();
    let result = device.create(AV_HWDEVICE_TYPE_VAAPI);
    if (result >= 0) {
      frames.alloc(device);
      frames.format = AV_PIX_FMT_VAAPI;
      frames.swFormat = AV_PIX_FMT_NV12;
      frames.width = width;
      frames.height = height;
      frames.initialPoolSize = POOL_SIZE;
      result = frames.init();
    }
    if (result >= 0) return new HardwareSurfaces(device, frames);
    frames.free();
    device.free();
    return ffmpegReason(result);
  }

  configure(context: CodecContext): void {
    context.pixelFormat = AV_PIX_FMT_VAAPI;
    context.hwFramesCtx = this.#frames;
  }

  /** The picture on the device; valid until the next call. Throws when the device refuses. */
  async upload(frame: Frame): Promise<Frame> {
    this.#surface.unref();
    const taken = this.#frames.getBuffer(this.#surface);
    if (taken < 0) throw new Error(`no surface: ${ffmpegReason(taken)}`);
    const copied = await this.#frames.transferData(this.#surface, frame);
    if (copied < 0) throw new Error(`no upload: ${ffmpegReason(copied)}`);
    return this.#surface;
  }

  close(): void {
    this.#surface.free();
    this.#frames.free();
    this.#device.free();
  }
}
