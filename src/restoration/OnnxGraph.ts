/** One ONNX file as an onnxruntime session: loaded, and checked against what the manifest says of its ports. */
import { availableParallelism } from 'node:os';
import { env, InferenceSession, type Tensor } from 'onnxruntime-node';
import { VireoError } from '../errors.js';
import type { StateTensor } from './manifest.js';
import { executionProviders } from './providers.js';
import type { ProviderName } from './types.js';

// Failures come back as errors; onnxruntime would print them to stderr as well.
env.logLevel = 'fatal';

/** An input or output as the manifest describes it; names of sizes stand for any number. */
export interface Port {
  name: string;
  type: 'uint8' | StateTensor['dtype'];
  /** Left out: any shape. */
  dims?: readonly (number | string)[];
}

export interface GraphOptions {
  provider: ProviderName;
  threads: number;
  /** Names of nodes that stay on the processor, where the provider can be told so. */
  hostNodes?: readonly string[] | undefined;
}

export class OnnxGraph {
  readonly label: string;
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession, label: string) {
    this.#session = session;
    this.label = label;
  }

  /** Rejects with `model-invalid`, naming the file by `label`, when the provider cannot load it or a port is not as told. */
  static async create(
    bytes: Uint8Array,
    label: string,
    ports: { inputs: readonly Port[]; outputs: readonly Port[] },
    how: GraphOptions,
  ): Promise<OnnxGraph> {
    const session = await InferenceSession.create(bytes, sessionOptions(how)).catch((thrown: unknown) => {
      const reason = oneLine(thrown);
      throw new VireoError(
        'model-invalid',
        `${label} cannot be loaded by provider ${how.provider}: ${reason}`,
        {
          cause: thrown,
        },
      );
    });
    const graph = new OnnxGraph(session, label);
    try {
      graph.#check(ports.inputs, ports.outputs);
    } catch (thrown) {
      await session.release();
      throw thrown;
    }
    return graph;
  }

  /** `what` tells an error apart from others of this file. Rejects with `internal`. */
  async run(
    feeds: Record<string, Tensor>,
    fetches: Record<string, Tensor> | readonly string[],
    what: string,
  ): Promise<InferenceSession.OnnxValueMapType> {
    try {
      return await this.#session.run(feeds, fetches);
    } catch (thrown) {
      throw new VireoError('internal', `${this.label} failed at ${what}: ${oneLine(thrown)}`, {
        cause: thrown,
      });
    }
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** What the manifest says of the graph must be what the graph says of itself. */
  #check(inputs: readonly Port[], outputs: readonly Port[]): void {
    for (const port of inputs) this.#checkPort('input', port, this.#session.inputMetadata);
    for (const port of outputs) this.#checkPort('output', port, this.#session.outputMetadata);
    const twice = inputs.find((port, at) => inputs.findIndex(({ name }) => name === port.name) < at);
    if (twice !== undefined) {
      throw new VireoError('model-invalid', `${this.label}: two fields of the manifest name "${twice.name}"`);
    }
    const unknown = this.#session.inputNames.find((name) => !inputs.some((port) => port.name === name));
    if (unknown !== undefined) {
      throw new VireoError(
        'model-invalid',
        `${this.label}: input "${unknown}" of the graph is not in the manifest`,
      );
    }
  }

  #checkPort(kind: 'input' | 'output', port: Port, graph: readonly InferenceSession.ValueMetadata[]): void {
    const found = graph.find((value) => value.name === port.name);
    const where = `${this.label}: ${kind} "${port.name}"`;
    if (found === undefined) {
      const names = graph.map((value) => value.name).join(', ');
      throw new VireoError(
        'model-invalid',
        `${where} of the manifest is not in the graph, which has ${names}`,
      );
    }
    if (!found.isTensor || found.type !== port.type) {
      const type = found.isTensor ? found.type : 'no tensor';
      throw new VireoError('model-invalid', `${where} is ${type} in the graph, ${port.type} in the manifest`);
    }
    const { dims } = port;
    const matches =
      dims === undefined ||
      (found.shape.length === dims.length &&
        found.shape.every((dim, index) => {
          const wanted = dims[index];
          return typeof dim !== 'number' || typeof wanted !== 'number' || dim === wanted;
        }));
    if (matches) return;
    throw new VireoError(
      'model-invalid',
      `${where} has shape [${found.shape.join(', ')}] in the graph, [${dims.join(', ')}] in the manifest`,
    );
  }
}

/** How every session here is opened. */
export function sessionOptions(how: GraphOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: executionProviders(how.provider, how.hostNodes),
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: how.threads > 0 ? how.threads : availableParallelism(),
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: {
      session: {
        // Idle sessions must not burn the cores that decode and encode.
        intra_op: { allow_spinning: '0' },
        // Attention leaves weights of 1e-40, on which processors take ten times as long: 1.8 of swift's 24 ms.
        set_denormal_as_zero: '1',
      },
    },
  };
}

function oneLine(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  // Past the place in onnxruntime's source where a condition failed.
  return message
    .replaceAll(/\s+/g, ' ')
    .replace(/^\/onnxruntime_src\/.* was false\. /, '')
    .slice(0, 400);
}
