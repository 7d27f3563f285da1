/** `--query`: JMESPath (jmespath.org) over a result, before it is shown, as `az` has it. */
import { messageOf } from '#base'
import { CliError } from '../errors.ts'

/** @throws CliError `usage_invalid` when the query cannot be read, or does not suit the result */
export async function applyQuery(value: unknown, query: string): Promise<unknown> {
  const { search } = await import('@jmespath-community/jmespath')
  try {
    // What JSON cannot say, such as undefined, is no value to the library either.
    return search(JSON.parse(JSON.stringify(value ?? null)) as Parameters<typeof search>[0], query)
  } catch (cause) {
    throw new CliError('usage_invalid', `The query cannot be applied: ${messageOf(cause)}`, {
      facts: { query },
      hint: 'It is JMESPath, as of "az --query"; see jmespath.org.',
      cause,
    })
  }
}
