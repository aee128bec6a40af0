// What others report, beside what this report measures. Figures are their authors', on their data, unless said.

/** Gain in dB of PSNR-Y at 720p over bicubic: mean of five clips coded with VP8 at the same settings as here. */
export const MEASURED_BEFORE = {
  about:
    'Measured once before this report with the same VP8 settings on five clips (two webcams, FourPeople, a room, hands at a table) and in ' +
    'floating point; not repeated by it, and so to be compared with the gains above by size, not by hundredths. Milliseconds are for x4 to 720p on one and on two threads of an AVX-512 machine.',
  columns: ['180p 60k', '180p 120k', '180p 240k', '360p 250k', '360p 500k', 'ms, 1 thread', '2 threads'],
  /** @type {{ method: string, source: string, values: (string | null)[] }[]} */
  rows: [
    {
      method: 'FSRCNN (OpenCV)',
      source: 'Dong et al., ECCV 2016',
      values: ['+0.13', '+0.17', '+0.21', '+0.36', '+0.56', '64', '41'],
    },
    {
      method: 'ESPCN (OpenCV)',
      source: 'Shi et al., CVPR 2016',
      values: ['+0.14', '+0.19', '+0.24', '+0.30', '+0.45', '78', '49'],
    },
    {
      method: 'WebSR CNN-2x-M, real life',
      source: 'npm @websr/websr',
      values: ['+0.29', '+0.44', '+0.57', '+0.45', '+0.65', '166', '112'],
    },
    {
      method: 'ESRGAN-slim (perceptual)',
      source: 'npm @upscalerjs/esrgan-slim',
      values: ['−0.18', '−0.23', '−0.28', '−0.09', '−0.18', '554', '319'],
    },
    {
      method: 'RLFN-S',
      source: 'Kong et al., CVPRW 2022',
      values: ['−0.01', '+0.27', '+0.47', '−0.16', '+0.04', '575', '308'],
    },
    {
      method: 'SAFMN++ light, trained on compressed input',
      source: 'Sun et al., ICCV 2023, and its successor',
      values: ['+0.51', '+0.85', '+1.17', null, null, '93', '68'],
    },
  ],
};

/** @type {{ method: string, task: string, figure: string, source: string }[]} */
export const PUBLISHED = [
  {
    method: 'NanoVSR, 22k weights',
    task: 'x4, REDS4, RGB, no coding; sees the future',
    figure: '27.62 dB (bicubic 26.14)',
    source: 'its authors',
  },
  { method: 'NanoVSR, 48k weights', task: 'the same', figure: '27.96 dB', source: 'its authors' },
  { method: 'NanoVSR, 226k weights', task: 'the same', figure: '28.23 dB', source: 'its authors' },
  {
    method: 'STDF-R3, 365k weights, 7 frames',
    task: 'artefacts of HEVC at QP 37',
    figure: '+0.78 dB',
    source: 'Deng et al., AAAI 2020',
  },
  {
    method: 'ABPN, SESR',
    task: 'cost of int8 in x2 to x4 super-resolution',
    figure: '0.13 to 0.2 dB after training, under 0.1 dB trained for it',
    source: 'Du et al., CVPRW 2021; Bhardwaj et al., MLSys 2022',
  },
  {
    method: 'InstantViR (video diffusion, GPU)',
    task: 'x4, no coding',
    figure: '34.91 dB, SSIM .96',
    source: 'Bai et al., 2025, with the original VAE',
  },
  {
    method: 'InstantViR',
    task: 'Gaussian blur, sigma 3',
    figure: '31.85 dB, SSIM .97',
    source: 'Bai et al., 2025, with the original VAE',
  },
  {
    method: 'InstantViR',
    task: '50 % of the pixels lost',
    figure: '30.54 dB, SSIM .97',
    source: 'Bai et al., 2025, with the original VAE',
  },
];
