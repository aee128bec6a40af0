import { useEffect, useRef } from 'preact/hooks';

/** Level of a microphone, so that people see that they can be heard. */
export function MicrophoneMeter({ track }: { track: MediaStreamTrack | null }) {
  const bar = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!track) return;
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 512 });
    new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let frame = 0;
    let level = 0;
    const draw = () => {
      analyser.getFloatTimeDomainData(samples);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      const dbfs = 10 * Math.log10(sum / samples.length + 1e-10);
      level = Math.max((dbfs + 60) / 60, level * 0.92);
      bar.current?.style.setProperty('--level', String(Math.min(1, Math.max(0, level))));
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => {
      cancelAnimationFrame(frame);
      void context.close();
    };
  }, [track]);
  return (
    <div class="meter" role="img" aria-label={track ? 'Microphone level' : 'Microphone off'}>
      <div ref={bar} class="meter-bar" />
    </div>
  );
}
