/**
 * The network cards that a point's machine had, each on a restricted user network of its own: the guest finds its card with
 * its MAC and model, and reaches nothing and nobody. Whatever the original was attached to, a copy is not.
 */
import { CARD_MODELS, type MachineNetwork } from '#engine/hypervisor'
import type { PointRecord } from '#engine/repository'

const MAC = /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/
/** As many as a machine of ours can have. */
const CARDS_MAX = 4

/** None when the point knows of none. What it says is data of its time: what is no card is passed over. */
export function restrictedNetworks({ description }: PointRecord): MachineNetwork[] {
  const given = asObject(description)['networks']
  const cards = (Array.isArray(given) ? given : []).map(asObject)
  const macs = new Set<string>()
  return cards.flatMap(({ mac, model: named }): MachineNetwork[] => {
    if (typeof mac !== 'string' || !MAC.test(mac) || macs.has(mac) || macs.size === CARDS_MAX) return []
    macs.add(mac)
    const model = CARD_MODELS.find((known) => known === named)
    return [{ kind: 'user', mac, restricted: true, forwards: [], ...(model === undefined ? {} : { model }) }]
  })
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
