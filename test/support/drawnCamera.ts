/** A camera that a page draws itself, to be told what it does: a script for `Browser.open`, which runs in the page. */

declare global {
  var cameraActs: {
    /** What it shows is out of focus. */
    blurred: boolean;
    /** It is somewhere else in every frame. */
    moving: boolean;
  };
}

/** Boxes of all sizes and colours, at 15 frames a second; the page's person sends stills of them if told so. */
export function drawnCamera({ sendStills }: { sendStills: boolean }): string {
  return `(${inPage.toString()})(${sendStills});`;
}

function inPage(sendStills: boolean): void {
  const [width, height, margin] = [1_280, 720, 200];
  localStorage.setItem('vireo.preferences', JSON.stringify({ sendStills }));
  globalThis.cameraActs = { blurred: false, moving: false };
  const canvas = (wide: number, high: number) => {
    const made = Object.assign(document.createElement('canvas'), { width: wide, height: high });
    const context = made.getContext('2d');
    if (!context) throw new Error('no canvas');
    return { made, context };
  };
  const sharp = canvas(width + margin, height + margin);
  let seed = 1;
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  sharp.context.fillStyle = '#777';
  sharp.context.fillRect(0, 0, width + margin, height + margin);
  for (let box = 0; box < 900; box += 1) {
    sharp.context.fillStyle = `hsl(${random(360)} 40% ${25 + random(50)}%)`;
    sharp.context.fillRect(random(width + margin), random(height + margin), 6 + random(60), 4 + random(30));
  }
  const blurred = canvas(width + margin, height + margin);
  blurred.context.filter = 'blur(4px)';
  blurred.context.drawImage(sharp.made, 0, 0);
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (constraints) => {
    if (!constraints?.video) return await ask(constraints);
    const shown = canvas(width, height);
    const draw = () => {
      const { blurred: out, moving } = globalThis.cameraActs;
      const [left, top] = moving ? [random(margin), random(margin)] : [0, 0];
      shown.context.drawImage((out ? blurred : sharp).made, -left, -top);
    };
    draw();
    setInterval(draw, 1_000 / 15);
    return shown.made.captureStream(15);
  };
}
