import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { shellLines } from './client-env.ts'

test('shellLines() are lines that a shell takes as they are meant, also for a home with blanks and quotes', () => {
  const face = {
    endpoint: 'https://127.0.0.1:8443',
    caFile: "/srv/it's here/ca.crt",
    tenantId: 't',
    subscriptionId: 's',
    clientId: 'c',
    clientSecretFile: '/etc/hostname',
  }
  const script = `az() { for word in "$@"; do printf '<%s>' "$word"; done; echo; }
${shellLines(face, 'lab')}
echo "$AZURE_CONFIG_DIR|$REQUESTS_CA_BUNDLE|$NODE_EXTRA_CA_CERTS|$AZURE_CORE_COLLECT_TELEMETRY"`
  const said = execFileSync('sh', ['-eu', '-c', script], { env: { HOME: '/home/a b', PATH: process.env['PATH'] } })
  const lines = said.toString().trimEnd().split('\n')
  const secret = execFileSync('cat', ['/etc/hostname']).toString().trim()
  assert.deepEqual(lines, [
    '<cloud><register><-n><lab><--endpoint-resource-manager><https://127.0.0.1:8443>',
    '<cloud><set><-n><lab>',
    `<login><--service-principal><-u><c><-p><${secret}><--tenant><t>`,
    "/home/a b/.azure-lab|/srv/it's here/ca.crt|/srv/it's here/ca.crt|0",
  ])
})
