import { Icon } from './Icon.js';

export function StatisticsHeader({ title, onClose }: { title: string; onClose: () => void }) {
  return (
    <header>
      <h3>{title}</h3>
      <button type="button" class="icon-button" aria-label="Close statistics" onClick={onClose}>
        <Icon name="close" />
      </button>
    </header>
  );
}

export function StatisticsRows({ rows }: { rows: readonly (readonly [string, string])[] }) {
  return (
    <dl>
      {rows.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
