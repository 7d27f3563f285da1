/** A test reporter: failures in full, skips with their reason, tables (diagnostics that begin with "|"), a closing line of counts. */
import type { TestEvent } from 'node:test/reporters'

type Counts = { passed: number; failed: number; skipped: number }

function describeFailure(data: { name: string; file?: string; details: { error: Error } }): string {
  const { error } = data.details
  const cause = error.cause instanceof Error ? error.cause : error
  return `
FAILED ${data.name}
  ${data.file ?? ''}
${cause.stack ?? cause.message}
`
}

export default async function* summary(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 }
  for await (const event of source) {
    if (event.type === 'test:diagnostic' && event.data.message.startsWith('| ')) yield `${event.data.message}\n`
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const isSkippedSuite = event.data.details.type === 'suite' && event.data.skip !== undefined
    if (event.data.details.type === 'suite' && !isSkippedSuite) continue
    if (event.type === 'test:fail') {
      counts.failed += 1
      yield describeFailure(event.data)
    } else if (event.data.skip !== undefined) {
      counts.skipped += 1
      yield `\nSKIPPED ${event.data.name}: ${String(event.data.skip)}\n`
    } else counts.passed += 1
  }
  yield `\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`
}
