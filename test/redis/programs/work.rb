# SPDX-License-Identifier: Apache-2.0
#
# Jobs of Sidekiq: loaded by its server, and by client.rb, which enqueues them.

require 'json'
require 'sidekiq'

# A busy machine is no reason to give a request up.
Sidekiq.configure_server { |config| config.redis = { network_timeout: 200 } }
Sidekiq.configure_client { |config| config.redis = { network_timeout: 200 } }

class Tell
  include Sidekiq::Job
  def perform(*args)
    Sidekiq.redis { |redis| redis.rpush('told', JSON.generate(args)) }
  end
end

class Urgent < Tell
  sidekiq_options queue: 'critical'
end

class Flaky
  include Sidekiq::Job
  sidekiq_options retry: 3
  sidekiq_retry_in { 3600 } # who waits does not wait for this
  def perform(name)
    tries = Sidekiq.redis { |redis| redis.incr("tries:#{name}") }
    raise "try #{tries}" if tries < 2
    Sidekiq.redis { |redis| redis.rpush('told', JSON.generate([name, tries])) }
  end
end

class Hopeless
  include Sidekiq::Job
  sidekiq_options retry: 0
  def perform
    raise 'it never works'
  end
end
