import type { ForbiddenReason, Publication, Subscription, View, ViewDecision } from './types.js';

/** Why a publication may not be restored at all; null when it may. */
export function forbiddenReason(
  publication: Pick<Publication, 'kind' | 'source' | 'restorable'>,
  restorationEnabled: boolean,
): ForbiddenReason | null {
  if (publication.kind === 'audio') return 'audio';
  if (!restorationEnabled) return 'disabled';
  if (publication.restorable === false) return 'opted-out';
  // Text and lines are what a model for camera pictures harms most: a screen has to be asked for.
  if (publication.source === 'screen' && publication.restorable !== true) return 'screen';
  return null;
}

export interface ViewInputs {
  forbidden: ForbiddenReason | null;
  /** The receiver's downlink does not carry the restored stream. */
  thin: boolean;
}

/** The effective view of a subscription: what is wanted, as far as it can be had. */
export function decideView(
  subscription: Pick<Subscription, 'wantedView' | 'restoredConsumer' | 'shown' | 'publication'>,
  { forbidden, thin }: ViewInputs,
): ViewDecision {
  const { wantedView, publication } = subscription;
  if (publication.kind === 'audio') {
    return { view: 'original', reason: null, run: { original: true, restored: false } };
  }
  if (wantedView === 'original') return decideOriginal(subscription);
  const reason = obstacle(subscription, forbidden, thin);
  if (reason !== null) return { view: 'original', reason, run: { original: true, restored: false } };
  return {
    view: wantedView,
    reason: null,
    // The original stays until the receiver displays the restored one: never a black frame.
    run: { original: wantedView === 'split' || !subscription.shown.restored, restored: true },
  };
}

/** The receiver's own wish: the restored variant runs on until the original is displayed. */
function decideOriginal(subscription: Pick<Subscription, 'shown' | 'publication'>): ViewDecision {
  const { shown, publication } = subscription;
  const handOver = publication.restored.state === 'active' && shown.restored && !shown.original;
  return { view: 'original', reason: null, run: { original: true, restored: handOver } };
}

function obstacle(
  { publication, restoredConsumer }: Pick<Subscription, 'publication' | 'restoredConsumer'>,
  forbidden: ForbiddenReason | null,
  thin: boolean,
): string | null {
  if (forbidden !== null) return forbidden;
  if (publication.paused) return 'no-input';
  if (thin) return 'thin-downlink';
  const { state, reason } = publication.restored;
  if (state !== 'active') return reason ?? 'starting';
  if (restoredConsumer === 'impossible') return 'unsupported-codec';
  return restoredConsumer === 'held' ? null : 'starting';
}

export function showsRestored(view: View): boolean {
  return view !== 'original';
}
