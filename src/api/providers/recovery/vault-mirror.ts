/**
 * vaults/{v}/backupMirror, which is Holdfast's own: how the copy of a GeoRedundant vault in the paired region stands; bringing it up to date now,
 * and checking every byte of both sides, which heals either from the other.
 */
import { isoTime } from '#base'
import { countUnmirroredPoints, type ResourceRecord } from '#catalog'
import { ArmError } from '#contract'
import { type CheckedSide, MIRROR_QUEUE, MIRROR_VAULT_JOB, readMirrorStatus, vaultBackingOf, VAULT_TYPE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { beginOperation, operationRoutes } from '../../arm/operations.ts'
import { findVault, VAULT_PATH } from './find-vault.ts'

const TYPE = `${VAULT_TYPE}/backupMirror`
const PATH = `${VAULT_PATH}/backupMirror`

function sideOf({ checkedBytes, packs, hurt, healed, lost }: CheckedSide) {
  return { checkedBytes, packs, hurt, healed, lost }
}

/** How it stands now; undefined for a vault without one. Stands in the vault's properties, too. */
export async function mirrorView(call: ArmCall, vault: ResourceRecord): Promise<Record<string, unknown> | undefined> {
  const { catalog, clock } = call.host
  const { uid, mirror } = vaultBackingOf(vault)
  if (mirror === undefined) return undefined
  const { passedMs, failed, checked, owed = 0 } = await readMirrorStatus(catalog, uid)
  const { points, oldestMs } = await countUnmirroredPoints(catalog, vault.key)
  const lagSeconds = oldestMs === undefined ? 0 : Math.max(0, Math.floor((clock.nowMs() - oldestMs) / 1000))
  return {
    region: mirror.region,
    location: mirror.location,
    state: failed !== undefined ? 'Failed' : passedMs === undefined ? 'NotStarted' : points > 0 ? 'Behind' : 'InSync',
    pointsBehind: points,
    lagSeconds,
    ...(passedMs !== undefined && { lastMirroredTime: isoTime(passedMs) }),
    ...(owed > 0 && { damagedPacks: owed }),
    ...(failed !== undefined && {
      error: { code: failed.code, message: failed.message, ...(failed.hint !== undefined && { hint: failed.hint }) },
      failedTime: isoTime(failed.atMs),
    }),
    ...(checked !== undefined && {
      lastCheck: {
        time: isoTime(checked.atMs),
        ok: checked.ok,
        vault: sideOf(checked.source),
        mirror: sideOf(checked.target),
      },
    }),
  }
}

async function mirroredVault(call: ArmCall) {
  const vault = await findVault(call)
  const properties = await mirrorView(call, vault)
  if (properties !== undefined) return { vault, properties }
  throw new ArmError(
    'ResourceNotFound',
    `The vault '${vault.name}' has no mirror: it is not GeoRedundant, or its region has no pair.`,
  )
}

async function show(call: ArmCall): Promise<ArmReply> {
  const { vault, properties } = await mirroredVault(call)
  return ok({ id: `${vault.id}/backupMirror`, name: 'backupMirror', type: TYPE, properties })
}

function begin(check: boolean) {
  return async (call: ArmCall): Promise<ArmReply> => {
    const { vault } = await mirroredVault(call)
    const { uid } = vaultBackingOf(vault)
    const { id, headers } = await beginOperation(call, {
      kind: 'operations',
      provider: 'Microsoft.RecoveryServices',
      location: vault.location ?? '',
      resourceId: `${vault.id}/backupMirror`,
      action: `${TYPE}/${check ? 'check' : 'run'}/action`,
      job: MIRROR_VAULT_JOB,
      input: { vault: vault.id, check },
      queue: MIRROR_QUEUE,
      key: `vault-mirror:${uid}`,
      reply: 'output',
      announce: () => Promise.resolve(),
    })
    return { status: 202, headers, operation: id }
  }
}

export const mirrorRoutes: readonly ArmRoute[] = [
  ...operationRoutes('Microsoft.RecoveryServices', ['operations']),
  { method: 'GET', path: PATH, action: `${TYPE}/read`, handle: show },
  { method: 'POST', path: `${PATH}/run`, action: `${TYPE}/run/action`, handle: begin(false) },
  { method: 'POST', path: `${PATH}/check`, action: `${TYPE}/check/action`, handle: begin(true) },
]
