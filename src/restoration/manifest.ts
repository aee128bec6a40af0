/**
 * The model package format: what `models/NAME/manifest.json` may say.
 *
 * A package holds one or more variants (one ONNX file each) of one model. A variant maps a block
 * of T decoded frames at one input size to T restored frames, and carries its state from block to
 * block as explicit graph inputs and outputs.
 */
import { z } from 'zod';

const tensorName = z.string().min(1);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits');

/** A dimension: a number, or a function of the input's luma height `h` and width `w` (`h`, `w/2`, `h*4`). */
const dimension = z.union([
  z.number().int().positive(),
  z.string().regex(/^[hw]([*/]\d+)?$/, 'must be a number or h, w, h/2, w*4 …'),
]);

export const stateTensorSchema = z.strictObject({
  /** Graph input that takes the state left by the previous block (all zeros at a reset). */
  input: tensorName,
  /** Graph output that holds the state to hand to the next block. */
  output: tensorName,
  dtype: z.enum(['float32', 'float16', 'uint8']),
  shape: z.array(dimension).min(1).max(5),
});

const onnxFile = z.string().regex(/^[\w.-]+\.onnx$/, 'must be a plain .onnx file name');

/**
 * How a variant looks details up in a sharp still of the sender: tables that are made once of each still enter its
 * cache, and every block attends to them.
 */
export const referencesSchema = z.strictObject({
  /** ONNX file that runs in place of the variant's own while there is a still: the same ports, and those below. */
  file: onnxFile,
  sha256,
  /** ONNX file that makes the tables. */
  tablesFile: onnxFile,
  tablesSha256: sha256,
  /** Its input, uint8 [1, 1, h*scale, w*scale]: the still's luma, limited range, in the size of the variant's output. */
  still: tensorName,
  /** Most stills at a time. Their tables are one below the other, along the first dimension. */
  max: z.number().int().min(1).max(16),
  /** What goes from the tables' graph (`output`) to the variant's (`input`). */
  tables: z
    .array(
      z.strictObject({
        output: tensorName,
        input: tensorName,
        dtype: z.enum(['float32', 'float16', 'uint8']),
      }),
    )
    .min(1)
    .max(16),
  /** Output of the variant's graph, float32 [1]: share of the picture that was found in the still, 0 to 1. */
  found: tensorName,
  /** Nodes of `file` that stay on the processor where the provider can be told so (WebGPU): searching goes back and forth otherwise. */
  hostNodes: z.array(tensorName).max(4096).optional(),
});

/** What calls are sent with. */
export const CALL_CODECS = ['vp8', 'vp9', 'h264', 'av1'] as const;
export type CallCodecName = (typeof CALL_CODECS)[number];

export const variantSchema = z
  .strictObject({
    /** ONNX file, relative to the package's folder; no directories. */
    file: onnxFile,
    sha256,
    task: z.enum(['sr', 'deblur', 'inpaint']),
    /** Output height / input height. */
    scale: z.union([z.literal(1), z.literal(2), z.literal(4)]),
    /** The coarsest grid of the graph, in chroma pixels of the input: luma height and width must be multiples of `2 * fold`. */
    fold: z.union([z.literal(1), z.literal(2), z.literal(4), z.literal(8)]),
    /** Block length: frames per run. Every frame of the stream is in exactly one block. */
    T: z.number().int().min(1).max(32),
    /** uint8 [T, 1, h, w], limited-range luma as decoded. */
    luma: tensorName,
    /** uint8 [T, 2, h/2, w/2], the U and the V plane of 4:2:0. */
    chroma: tensorName,
    /**
     * uint8 [T, 1, h, w]: 0 where the picture is as decoded, 255 where a pixel is lost. Left out: the graph has no
     * such input, and nobody can give the variant a mask.
     */
    mask: tensorName.optional(),
    /**
     * float32 [1]: how much of the restoration is applied, from 0 (the plain enlarging) to 1 (all of it). Left out:
     * the graph has no such input, and always applies all.
     */
    strength: tensorName.optional(),
    /**
     * How much of the restoration pictures from a codec take in calls while no still serves, where it is not all, 0 to 1; 0: they are left
     * as they are. For codecs whose pictures, as measured, lose or flicker by more.
     */
    strengths: z.partialRecord(z.enum(CALL_CODECS), z.number().min(0).max(1)).optional(),
    /** uint8 [T, 1, h*scale, w*scale]. */
    lumaOut: tensorName,
    /** uint8 [T, 2, h*scale/2, w*scale/2]. */
    chromaOut: tensorName,
    state: z.array(stateTensorSchema).max(16),
    /** Left out: the variant takes no stills. */
    references: referencesSchema.optional(),
  })
  .refine(({ strength, strengths }) => strengths === undefined || strength !== undefined, {
    path: ['strengths'],
    error: 'the variant has no strength input',
  });

export const evaluationRowSchema = z.strictObject({
  method: z.string(),
  codec: z.string(),
  uplinkHeight: z.number().int(),
  bitrate: z.number(),
  psnrY: z.number(),
  ssimY: z.number(),
  warpError: z.number().nullable(),
  tOF: z.number().nullable().optional(),
});

export const manifestSchema = z.strictObject({
  schema: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be lower-case letters, digits and hyphens'),
  version: z.string().regex(/^\d+\.\d+\.\d+$/, 'must be MAJOR.MINOR.PATCH'),
  description: z.string(),
  licence: z.string().min(1),
  /** Name of the package the load ladder steps down to when this one cannot keep up; none: the original. */
  lighter: z.string().optional(),
  weights: z.number().int().positive(),
  trainingData: z.string().min(1),
  variants: z.array(variantSchema).min(1).max(16),
  /** The summary rows that `vireo evaluate --json` printed for this version. */
  evaluation: z.array(evaluationRowSchema),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type Variant = z.infer<typeof variantSchema>;
export type References = z.infer<typeof referencesSchema>;
export type StateTensor = z.infer<typeof stateTensorSchema>;
