/**
 * Links to the servers of other regions, over the server's socket.
 *
 *   link.invite {role?, hours?, endpoint?}     → Invited; a text for the other server's administrator, good once
 *   link.join {invitation, role?, endpoint?}   → LinkView
 *   link.list                                  → LinkView[], asked now
 *   link.remove {link}                         → Unlinked
 *
 * `role` is what principals of the other server may here at most (default: Reader); what each of them may is their own server's
 * to say.
 */
import { isoTime } from '#base'
import type { Links, LinkView } from '#api'
import { putSetting } from '#catalog'
import type { RoleDefinition } from '#domain'
import type { RpcMethods } from '#runtime'
import { type AdminParts, fieldsOf, optionalNumber, optionalTextOf, recordChange } from '../access/admin-call.ts'
import { roleNamed } from '../access/role-methods.ts'
import { ServerError } from '../errors.ts'
import { LINK_ENDPOINT_SETTING } from '../face/link-address.ts'

export type Invited = Readonly<{ invitation: string; expiresAt: string; endpoint: string; role: string }>
export type Unlinked = Readonly<{ link: LinkView; told: boolean }>

const HOUR_MS = 3_600_000
const HOURS_DEFAULT = 24
const HOURS_MAX = 24 * 30
const INVITATION_LENGTH_MAX = 64 * 1024
const ACTION = 'Holdfast.Places/links'

/** Keeps where others find this server, when it is told. @throws ServerError `place_invalid` */
async function keepEndpoint({ catalog }: AdminParts, given: string | undefined): Promise<void> {
  if (given === undefined) return
  const url = URL.parse(given)
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.username !== '')
    throw new ServerError('place_invalid', `"${given}" is no address of a server.`, {
      facts: { endpoint: given },
      hint: 'Give it like https://backup.example.org:8443, by a name that its certificate has (listen.names).',
    })
  await catalog.write((trx) => putSetting(trx, LINK_ENDPOINT_SETTING, url.origin))
}

function roleIn(fields: Readonly<Record<string, unknown>>): RoleDefinition {
  return roleNamed(optionalTextOf(fields, 'role') ?? 'Reader')
}

async function invite(parts: AdminParts, links: Links, params: unknown): Promise<Invited> {
  const fields = fieldsOf(params)
  const role = roleIn(fields)
  const hours = optionalNumber(fields, 'hours', HOURS_MAX) ?? HOURS_DEFAULT
  await keepEndpoint(parts, optionalTextOf(fields, 'endpoint'))
  const { invitation, expiresMs } = await links.invite(role.id, hours * HOUR_MS)
  const { endpoint } = await links.parts.self()
  await recordChange(parts, `${ACTION}/invite/action`, '/links', { role: role.name })
  return { invitation, expiresAt: isoTime(expiresMs), endpoint, role: role.name }
}

async function join(parts: AdminParts, links: Links, params: unknown): Promise<LinkView> {
  const fields = fieldsOf(params)
  const role = roleIn(fields)
  const { invitation } = fields
  if (typeof invitation !== 'string' || invitation.length > INVITATION_LENGTH_MAX)
    throw new ServerError('request_invalid', 'The request has no valid invitation.', { facts: { what: 'invitation' } })
  await keepEndpoint(parts, optionalTextOf(fields, 'endpoint'))
  const link = await links.join(invitation, role.id)
  await recordChange(parts, `${ACTION}/write`, `/links/${link.subscription}`, { role: role.name })
  return link
}

async function remove(parts: AdminParts, links: Links, params: unknown): Promise<Unlinked> {
  const { link: given } = fieldsOf(params)
  if (typeof given !== 'string')
    throw new ServerError('request_invalid', 'The request has no valid link.', { facts: { what: 'link' } })
  const found = await links.named(given)
  const view = links.view(found)
  const { told } = await links.unlink(found)
  await recordChange(parts, `${ACTION}/delete`, `/links/${found.subscription}`, { told })
  return { link: view, told }
}

export function linkMethods(parts: AdminParts, links: () => Links): RpcMethods {
  return {
    'link.invite': (params) => invite(parts, links(), params),
    'link.join': (params) => join(parts, links(), params),
    'link.list': () => links().look(),
    'link.remove': (params) => remove(parts, links(), params),
  }
}
