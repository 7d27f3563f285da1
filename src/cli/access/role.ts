/** holdfast role: who may do what. */
import { Command } from 'commander'
import type { AssignmentView, ControlClient, FaceRecord, RoleView } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'
import { textTable } from '../text-table.ts'

type ScopeOptions = HomeOptions & Readonly<{ scope?: string; group?: string }>
type ListOptions = ScopeOptions & Readonly<{ principal?: string; definitions?: boolean }>

export function roleCommand(): Command {
  return new Command('role')
    .summary('who may do what: Azure’s built-in roles, given at a scope')
    .description('Gives and takes roles. A server must run: "holdfast serve".')
    .addHelpText('after', '\nExamples:\n  holdfast role list\n  holdfast role assign Reader ci --group web')
    .addCommand(listCommand())
    .addCommand(changeCommand('assign'))
    .addCommand(changeCommand('unassign'))
}

function withScope(command: Command): Command {
  return command
    .option('--scope <id>', 'id of a resource, a group or a subscription; / is everything')
    .option('--group <name>', 'the resource group of this name')
}

/** Undefined when nothing was said. */
async function scopeOf(control: ControlClient, { scope, group }: ScopeOptions): Promise<string | undefined> {
  if (group === undefined || scope !== undefined) return scope
  const { subscriptionId } = (await control.call('face')) as FaceRecord
  return `/subscriptions/${subscriptionId}/resourceGroups/${group}`
}

function table(assignments: readonly AssignmentView[]): string {
  if (assignments.length === 0) return 'No role is given there.'
  const rows = assignments.map(({ principal, role, scope }) => [principal, role, scope])
  return textTable(['PRINCIPAL', 'ROLE', 'SCOPE'], rows)
}

function listCommand(): Command {
  return withScope(
    makeHomeCommand({
      usage: 'list',
      summary: 'which roles were given to whom, and where',
      examples: ['holdfast role list', 'holdfast role list --principal ci', 'holdfast role list --definitions'],
    }),
  )
    .option('--principal <principal>', 'only of this one: name, client id or object id')
    .option('--definitions', 'the roles that there are')
    .action((options: ListOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          if (options.definitions === true) {
            const roles = (await control.call('role.definitions')) as RoleView[]
            const rows = roles.map(({ name, id, description }) => [name, id, description])
            return output.result(roles, () => textTable(['ROLE', 'ID', 'WHAT IT ALLOWS'], rows))
          }
          const scope = await scopeOf(control, options)
          const params = { principal: options.principal, scope }
          const assignments = (await control.call('role.list', params)) as AssignmentView[]
          output.result(assignments, () => table(assignments))
        }),
      ),
    )
}

function changeCommand(verb: 'assign' | 'unassign'): Command {
  const texts = {
    assign: { summary: 'give a role; by name or GUID', done: 'now has' },
    unassign: { summary: 'take a role away; it is gone at once', done: 'no longer has' },
  }[verb]
  return withScope(
    makeHomeCommand({
      usage: `${verb} <role> <principal>`,
      summary: texts.summary,
      description: `${texts.summary.charAt(0).toUpperCase()}${texts.summary.slice(1)}. Without --scope or --group: at the subscription.`,
      examples: [
        `holdfast role ${verb} Contributor ci`,
        `holdfast role ${verb} "Disk Snapshot Contributor" ci --group web`,
      ],
    }),
  ).action((role: string, principal: string, options: ScopeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const scope = await scopeOf(control, options)
        const changed = (await control.call(`role.${verb}`, { role, principal, scope })) as AssignmentView
        output.result(changed, () => `${changed.principal} ${texts.done} the role ${changed.role} at ${changed.scope}.`)
      }),
    ),
  )
}
