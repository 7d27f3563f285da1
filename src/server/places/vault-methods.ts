/**
 * Keys of vaults over the server's socket, for whoever may read the home.
 *
 *   vault.exportKey {vault, group?} → {vault, uid, key (base64)}   `vault`: a name that only one vault has, a name in the group, or an id
 *
 * The key file opens the vault, its mirror and every copy of it, with this server gone. That it was handed out is on record, in the audit log and for
 * `doctor`, which warns of vaults whose key is nowhere but here.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '#base'
import { listResources, putSetting, type ResourceRecord } from '#catalog'
import { VAULT_TYPE, vaultBackingOf, vaultKeyPath } from '#jobs'
import type { RpcMethods } from '#runtime'
import { type AdminParts, fieldsOf, optionalTextOf, recordChange, textOf } from '../access/admin-call.ts'
import { ServerError } from '../errors.ts'

export type ExportedKey = Readonly<{ vault: string; uid: string; key: string }>

async function vaultNamed({ catalog }: AdminParts, name: string, group: string | undefined): Promise<ResourceRecord> {
  const lower = name.toLowerCase()
  const isIt = ({ key, name: its, groupKey }: ResourceRecord): boolean =>
    key === lower ||
    (its.toLowerCase() === lower && (group === undefined || groupKey.endsWith(`/${group.toLowerCase()}`)))
  const found = (await listResources(catalog, { type: VAULT_TYPE })).filter(isIt)
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  throw new ServerError(
    'place_not_found',
    found.length === 0 ? `There is no vault ${name}.` : `${found.length} vaults have the name ${name}.`,
    { facts: { vault: name, found: found.map(({ id }) => id) }, hint: 'Name its group with -g, or give its id.' },
  )
}

export function vaultMethods(parts: AdminParts): RpcMethods {
  return {
    'vault.exportKey': async (params): Promise<ExportedKey> => {
      const fields = fieldsOf(params)
      const vault = await vaultNamed(parts, textOf(fields, 'vault'), optionalTextOf(fields, 'group'))
      const { uid } = vaultBackingOf(vault)
      const path = vaultKeyPath(join(parts.home.folder, 'keys'), uid)
      const bytes = await readFile(path).catch((cause: unknown) => {
        throw new ServerError('place_unusable', `The key file ${path} cannot be read: ${messageOf(cause)}`, {
          facts: { path },
          hint: 'Put it back from your copy of the folder "keys".',
          cause,
        })
      })
      const nowMs = parts.clock.nowMs()
      await parts.catalog.write((trx) => putSetting(trx, `vault-key-exported/${uid}`, String(nowMs)))
      await recordChange(parts, 'Holdfast.Vaults/exportKey', vault.id)
      return { vault: vault.id, uid, key: bytes.toString('base64') }
    },
  }
}
