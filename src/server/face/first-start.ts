/**
 * What a home gets at its first start: a tenant, a subscription, two paired regions to try things out (each with a pool and a
 * store below the home), and an administrator. All of it can be changed afterwards; nothing of it is made twice.
 *
 * The administrator's secret is written to `keys/administrator.secret` (mode 0600) before it becomes valid, and said once.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, GIB, type Random, randomUuid } from '#base'
import { makeSecret } from '#api'
import {
  type Catalog,
  type CatalogTransaction,
  findSetting,
  insertCredential,
  insertPrincipal,
  insertRoleAssignment,
  listPrincipals,
  putHost,
  putPool,
  putRegion,
  putSetting,
  putStore,
} from '#catalog'
import { OWNER_ROLE } from '#domain'
import { replaceFile } from '#runtime'
import type { Home } from '../home.ts'
import { localHost } from '../places/local-host.ts'

export type Identity = Readonly<{ tenantId: string; subscriptionId: string }>
export type Administrator = Readonly<{
  clientId: string
  secretPath: string
  /** Only at the start that made it. */ secret: string | undefined
}>

export const ADMINISTRATOR = 'administrator'

/** Names that the official command line knows to be a pair. */
const TRIAL_REGIONS = [
  { name: 'eastus', displayName: 'East US', pair: 'westus' },
  { name: 'westus', displayName: 'West US', pair: 'eastus' },
] as const
const POOL_RESERVE_BYTES = 2 * GIB

type Source = Readonly<{ home: Home; catalog: Catalog; clock: Clock; random: Random }>

export function administratorSecretPath(home: Home): string {
  return join(home.folder, 'keys', 'administrator.secret')
}

async function settingOrNew(trx: CatalogTransaction, name: string, random: Random): Promise<string> {
  const known = await findSetting(trx, name)
  if (known !== undefined) return known
  const made = randomUuid(random)
  await putSetting(trx, name, made)
  return made
}

async function makeTrialRegions({ home, catalog, clock }: Source): Promise<void> {
  for (const { name } of TRIAL_REGIONS)
    for (const part of ['pool', 'store'])
      await mkdir(join(home.folder, 'regions', name, part), { recursive: true, mode: 0o700 })
  await catalog.write(async (trx) => {
    if ((await findSetting(trx, 'regions-made')) !== undefined) return
    const createdMs = clock.nowMs()
    for (const region of TRIAL_REGIONS) {
      const folder = join(home.folder, 'regions', region.name)
      await putRegion(trx, { ...region, geography: 'US', createdMs })
      await putHost(trx, localHost(region.name, createdMs))
      await putPool(trx, {
        region: region.name,
        name: 'default',
        path: join(folder, 'pool'),
        host: undefined,
        reserveBytes: POOL_RESERVE_BYTES,
        createdMs,
      })
      await putStore(trx, {
        region: region.name,
        name: 'default',
        location: join(folder, 'store'),
        repositoryId: undefined,
        shared: false,
        createdMs,
      })
    }
    await putSetting(trx, 'regions-made', 'yes')
  })
}

async function makeAdministrator({ home, catalog, clock, random }: Source): Promise<Administrator> {
  const secretPath = administratorSecretPath(home)
  const existing = await listPrincipals(catalog)
  const first = existing.find(({ name }) => name === ADMINISTRATOR)
  if (first !== undefined || existing.length > 0)
    return { clientId: first?.clientId ?? '', secretPath, secret: undefined }
  const createdMs = clock.nowMs()
  const principal = { id: randomUuid(random), clientId: randomUuid(random), name: ADMINISTRATOR, createdMs }
  const { secret, credential } = makeSecret(principal.id, { random, nowMs: createdMs })
  const name = randomUuid(random)
  const key = `/providers/microsoft.authorization/roleassignments/${name}`
  const grant = { key, name, scope: '/', role: OWNER_ROLE, principal: principal.id, principalType: 'ServicePrincipal' }
  // First the file: a crash in between leaves one whose secret opens nothing, never an administrator whom nobody can be.
  await mkdir(join(home.folder, 'keys'), { recursive: true, mode: 0o700 })
  await replaceFile(secretPath, [new TextEncoder().encode(`${secret}\n`)])
  await catalog.write(async (trx) => {
    await insertPrincipal(trx, principal)
    await insertCredential(trx, credential)
    await insertRoleAssignment(trx, {
      ...grant,
      description: 'Made at the first start.',
      createdMs,
      createdBy: principal.id,
    })
  })
  return { clientId: principal.clientId, secretPath, secret }
}

export async function firstStart(
  source: Source,
): Promise<Readonly<{ identity: Identity; administrator: Administrator }>> {
  const { catalog, random } = source
  const identity = await catalog.write(async (trx) => ({
    tenantId: await settingOrNew(trx, 'tenant', random),
    subscriptionId: await settingOrNew(trx, 'subscription', random),
  }))
  await makeTrialRegions(source)
  return { identity, administrator: await makeAdministrator(source) }
}
