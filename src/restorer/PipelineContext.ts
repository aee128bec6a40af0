import type { Logger } from '../log.js';
import type { CountingVideoDecoder } from '../media/NodeAvDecoder.js';
import type { VideoCodec, VideoEncoder, VideoEncoderOptions } from '../media/types.js';
import type { InferenceDevice } from '../restoration/types.js';
import type { CostModel } from './CostModel.js';
import type { DeviceGate } from './DeviceGate.js';
import type { ModelChoice } from './ModelChoice.js';
import type { TrackReport } from './types.js';

/** What all tracks of a child share, and how a track tells what became of it. */
export interface PipelineContext {
  device: Pick<InferenceDevice, 'openStream' | 'provider'>;
  models: ModelChoice;
  gate: DeviceGate;
  costs: CostModel;
  encoderThreads: number;
  logger: Logger;
  createDecoder: (codec: VideoCodec) => Promise<CountingVideoDecoder>;
  createEncoder: (options: VideoEncoderOptions) => Promise<VideoEncoder>;
  onReport: (report: TrackReport) => void;
  /** The first restored frame was sent. */
  onStarted: (trackId: string) => void;
  /** A still of the track was not taken. */
  onReferenceRefused: (trackId: string, referenceId: string, reason: string) => void;
  /** The track wants more or less of the device than before: plan again now. */
  onDemandChanged: () => void;
}
