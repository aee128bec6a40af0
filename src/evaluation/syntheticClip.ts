/**
 * A clip with natural statistics, made of FFmpeg's own sources: texture with a 1/f spectrum (Perlin noise in
 * octaves), hard edges (a Mandelbrot set), a camera that pans or stands, and an object that moves before it. Made at
 * twice the size and averaged down, so that the picture is sharp but free of aliasing, and moves by half pixels.
 */
export interface ClipShape {
  width: number;
  height: number;
  fps: number;
  seconds: number;
  /** Whether the camera pans; else it stands. */
  pans: boolean;
}

/** A filter graph for FFmpeg's `lavfi` demuxer. Always the same pictures for the same shape. */
export function syntheticClipGraph({ width, height, fps, seconds, pans }: ClipShape): string {
  const big = { w: even(width * 2.5), h: even(height * 2.5) };
  const window = { w: even(width * 2), h: even(height * 2) };
  const object = { w: even(width * 0.5), h: even(height * 0.7) };
  const still = 'trim=end_frame=1,loop=-1:1';
  const view = pans ? ":x='(iw-ow)*(0.5+0.45*sin(t*0.7))':y='(ih-oh)*(0.5+0.4*cos(t*0.9))'" : '';
  const noise = (w: number, h: number, octaves: number, persistence: number, seed: number) =>
    `perlin=size=${w}x${h}:octaves=${octaves}:persistence=${persistence}:xscale=6:yscale=4:random_mode=seed:random_seed=${seed}`;
  return [
    `${noise(big.w, big.h, 9, 0.7, 7)},eq=contrast=1.6,${still}[texture]`,
    `mandelbrot=size=${big.w}x${big.h}:maxiter=200:start_scale=0.8:end_scale=0.8,format=gray,${still}[edges]`,
    `${noise(big.w / 2, big.h / 2, 4, 0.5, 8)},${still}[u]`,
    `${noise(big.w / 2, big.h / 2, 4, 0.5, 9)},${still}[v]`,
    '[texture]format=gray[t];[t][edges]blend=all_mode=softlight[y]',
    '[u]format=gray,eq=contrast=0.3[u8];[v]format=gray,eq=contrast=0.3[v8]',
    `[y][u8][v8]mergeplanes=0x001020:yuv420p,fps=${fps},split[far][near]`,
    `[far]crop=${window.w}:${window.h}${view}[background]`,
    `[near]crop=${object.w}:${object.h}:x=8:y=8,negate=components=y,drawbox=t=4:color=white[object]`,
    `[background][object]overlay=x='(W-w)*(0.5+0.4*sin(t*1.3))':y='(H-h)*(0.5+0.3*cos(t*1.7))',scale=${width}:${height}:flags=area,setsar=1,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709,format=yuv420p,trim=end_frame=${Math.round(seconds * fps)}`,
  ].join(';');
}

function even(value: number): number {
  return Math.round(value / 4) * 4;
}
