/** Virtual networks by unmodified `az`: made, shown, changed, refused, deleted. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { azMissing } from './az.ts'
import { AzWorld } from './az-world.ts'

type View = Readonly<{ id: string; name: string; provisioningState: string; [name: string]: unknown }>
const NETWORKS = 'Microsoft.Network/virtualNetworks'

test('az: networks', { skip: azMissing() }, async (t) => {
  await using world = await AzWorld.loggedIn()
  const { az } = world
  const flow = world.flows(t)
  await az.run('group', 'create', '-n', 'rg1', '-l', 'eastus')
  const g = ['-g', 'rg1'] as const
  const network = <T = View>(...words: string[]): Promise<T> => az.run<T>('network', ...words, ...g)

  await flow(
    'vnet and subnet',
    async () => {
      await network(
        'vnet',
        'create',
        '-n',
        'v1',
        '--address-prefixes',
        '10.0.0.0/16',
        '--subnet-name',
        's1',
        '--subnet-prefixes',
        '10.0.0.0/24',
      )
      await network(
        'vnet',
        'subnet',
        'create',
        '--vnet-name',
        'v1',
        '-n',
        's2',
        '--address-prefixes',
        '10.0.1.0/24',
        '--default-outbound-access',
        'false',
      )
      const subnets = await network<View[]>('vnet', 'subnet', 'list', '--vnet-name', 'v1')
      assert.deepEqual(
        subnets.map(({ name, addressPrefix, defaultOutboundAccess }) => [name, addressPrefix, defaultOutboundAccess]),
        [
          ['s1', '10.0.0.0/24', true],
          ['s2', '10.0.1.0/24', false],
        ],
      )
      const updated = await network('vnet', 'update', '-n', 'v1', '--set', 'tags.owner=ops')
      assert.deepEqual(updated['tags'], { owner: 'ops' })
    },
    NETWORKS,
  )

  await flow(
    'nsg, public-ip and nic',
    async () => {
      await network('nsg', 'create', '-n', 'g1')
      await network(
        'nsg',
        'rule',
        'create',
        '--nsg-name',
        'g1',
        '-n',
        'ssh',
        '--priority',
        '1000',
        '--destination-port-ranges',
        '22',
        '--protocol',
        'Tcp',
      )
      const rules = await network<View[]>('nsg', 'rule', 'list', '--nsg-name', 'g1')
      assert.deepEqual(
        rules.map(({ name, destinationPortRange }) => [name, destinationPortRange]),
        [['ssh', '22']],
      )
      await network('public-ip', 'create', '-n', 'p1', '--sku', 'Standard')
      const nic = await network<{ NewNIC: View & { ipConfigurations: { privateIPAddress: string }[] } }>(
        'nic',
        'create',
        '-n',
        'n1',
        '--vnet-name',
        'v1',
        '--subnet',
        's1',
        '--network-security-group',
        'g1',
        '--public-ip-address',
        'p1',
      )
      assert.equal(nic.NewNIC.ipConfigurations[0]?.privateIPAddress, '10.0.0.4')
      const address = await network('public-ip', 'show', '-n', 'p1')
      assert.equal(address['ipAddress'], '127.0.0.1')
      const updated = await network('nic', 'update', '-n', 'n1', '--set', 'tags.a=b')
      assert.deepEqual(updated['tags'], { a: 'b' })
    },
    NETWORKS,
  )

  await flow(
    'in use, then deleted',
    async () => {
      await az.refused('InUseSubnetCannotBeDeleted', 'network', 'vnet', 'delete', '-n', 'v1', ...g)
      await network('nic', 'delete', '-n', 'n1')
      await network('public-ip', 'delete', '-n', 'p1')
      await network('nsg', 'delete', '-n', 'g1')
      await network('vnet', 'delete', '-n', 'v1')
      assert.deepEqual(await network('vnet', 'list'), [])
    },
    NETWORKS,
  )
})
