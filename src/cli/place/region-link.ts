/** holdfast region invite, link and unlink: servers of other regions, each known to the other. */
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { Invited, LinkView, Unlinked } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { timeText } from '../time-text.ts'

type LinkOptions = HomeOptions & Readonly<{ role?: string; endpoint?: string }>
type InviteOptions = LinkOptions & Readonly<{ hours: string }>

function withLinkOptions(command: Command): Command {
  return command
    .option('--role <role>', 'what principals of the other server may here at most (default: Reader)')
    .option('--endpoint <url>', 'where the other server finds this one (default: as it listens); kept')
}

export function inviteCommand(): Command {
  return withLinkOptions(
    makeHomeCommand({
      usage: 'invite',
      summary: 'a text with which the server of another region links with this one',
      description:
        'Prints an invitation: where this server is, how it is known, and a secret. Whoever has it can link one server, once: ' +
        'bring it to "holdfast region link" there by a way that nobody else reads.',
      examples: [
        'holdfast region invite --role Contributor',
        'holdfast region invite --endpoint https://west.example.org:8443 --hours 1',
      ],
    }),
  )
    .option('--hours <hours>', 'how long it can be used', '24')
    .action((options: InviteOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { role, endpoint, hours } = options
          const made = (await control.call('link.invite', { role, endpoint, hours: Number(hours) })) as Invited
          output.result(made, () => made.invitation)
          output.note(
            `Good once, until ${made.expiresAt}, for ${made.endpoint}. It lets the other server’s principals be ${made.role} here.`,
          )
        }),
      ),
    )
}

export function linkCommand(): Command {
  return withLinkOptions(
    makeHomeCommand({
      usage: 'link <invitation>',
      summary: 'link with the server that gave the invitation ("-": from standard input)',
      description:
        'Links both servers: each lists the other’s regions and its subscription, hands requests for it over, and may be the ' +
        'other half of a pair. No region of one may have the name of one of the other. Doing it again does no harm.',
      examples: ['holdfast region link - --role Reader < invitation', 'holdfast region link hfl1.eyJlbmRwb2ludCI...'],
    }),
  ).action((invitation: string, options: LinkOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const given = invitation === '-' ? await text(process.stdin) : invitation
        const { role, endpoint } = options
        const link = (await control.call('link.join', { invitation: given.trim(), role, endpoint })) as LinkView
        output.result(link, () => describe(link))
      }),
    ),
  )
}

function describe({ endpoint, regions, subscription, role, granted }: LinkView): string {
  return (
    `Linked with ${endpoint}, which has ${regions.join(', ')} in the subscription ${subscription}. ` +
    `Its principals are ${role} here at most; ours are ${granted ?? 'nothing'} there at most.`
  )
}

export function unlinkCommand(): Command {
  return makeHomeCommand({
    usage: 'unlink <link>',
    summary: 'end a link: by a region of the other server, its address or its subscription',
    description:
      'Ends the link on both sides, and pairs over it. If the other cannot be told, it learns it when it asks.',
    examples: ['holdfast region unlink westus'],
  }).action((link: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const ended = (await control.call('link.remove', { link })) as Unlinked
        const told = ended.told ? '' : ' It could not be told: end it there, too ("holdfast region unlink").'
        output.result(ended, () => `The link with ${ended.link.endpoint} is ended.${told}`)
      }),
    ),
  )
}

/** Whose a region is, in a column. */
export function ownerText(link: LinkView | undefined): string {
  if (link === undefined) return 'this server'
  const { endpoint, state, since, lastSeen } = link
  const when = state === 'reachable' ? since : lastSeen
  const words = state === 'reachable' ? 'since' : 'last seen'
  return `${endpoint} (${state}${when === undefined ? '' : `, ${words} ${timeText(globalThis.Date.parse(when))}`})`
}
