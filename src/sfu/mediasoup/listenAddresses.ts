import { isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { TransportListenInfo } from 'mediasoup/types';
import { VireoError } from '../../errors.js';

const WILDCARD = { IPv4: '0.0.0.0', IPv6: '::' } as const;
type Family = keyof typeof WILDCARD;

function familyOf(ip: string): Family {
  if (isIPv4(ip)) return 'IPv4';
  if (isIPv6(ip)) return 'IPv6';
  throw new VireoError('config-invalid', `listenIps: '${ip}' is neither an IPv4 nor an IPv6 address`);
}

/** This machine's addresses a browser could use. Link-local IPv6 would need a scope that candidates cannot carry. */
function interfaceAddresses(family: Family): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter((entry) => entry.family === family && !/^fe80:/i.test(entry.address))
    .map((entry) => entry.address);
}

function announcesFamily(announced: string, family: Family): boolean {
  if (isIPv4(announced)) return family === 'IPv4';
  if (isIPv6(announced)) return family === 'IPv6';
  return true;
}

/**
 * mediasoup's listen infos for one UDP port.
 *
 * A wildcard without an announced address of its family becomes one listen info per address of this
 * machine: a candidate `0.0.0.0` is of no use, and only a socket bound to one address surely answers
 * from the address that was asked.
 */
export function udpListenInfos(
  listenIps: readonly string[],
  announcedAddress: string | undefined,
  port: number,
): TransportListenInfo[] {
  const infos = new Map<string, TransportListenInfo>();
  const add = (ip: string, announced?: string) => {
    infos.set(ip, {
      protocol: 'udp',
      ip,
      ...(announced === undefined ? {} : { announcedAddress: announced }),
      ...(port === 0 ? {} : { port }),
      ...(isIPv6(ip) ? { flags: { ipv6Only: true } } : {}),
    });
  };
  for (const ip of listenIps) {
    const family = familyOf(ip);
    const announced =
      announcedAddress !== undefined && announcesFamily(announcedAddress, family)
        ? announcedAddress
        : undefined;
    if (ip === WILDCARD[family] && announced === undefined) {
      for (const address of interfaceAddresses(family)) add(address);
    } else {
      add(ip, announced);
    }
  }
  if (infos.size === 0) {
    throw new VireoError(
      'config-invalid',
      `listenIps: none of ${listenIps.join(', ')} is an address of this machine`,
    );
  }
  return [...infos.values()];
}
