import { defineConfig } from 'vitest/config';

// Two small cores: wherever real media is involved files run one after another, and projects too, so that
// one test's load never becomes another test's flake.
const serial = (groupOrder: number) => ({
  fileParallelism: false,
  pool: 'forks' as const,
  sequence: { groupOrder },
});

export default defineConfig({
  test: {
    globalSetup: ['test/support/globalSetup.ts'],
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 } },
      {
        extends: true,
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 60_000,
          ...serial(1),
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          ...serial(2),
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 240_000,
          ...serial(3),
        },
      },
    ],
  },
});
