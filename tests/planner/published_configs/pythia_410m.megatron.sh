# Pythia 410M, in the arguments of Megatron-LM.
# Source: EleutherAI/pythia models/410M (GPT-NeoX, a fork of Megatron; its parallel residual and
# 25% rotary have no argument here).
ARGS=(
    --num-layers 24 --hidden-size 1024 --num-attention-heads 16 --ffn-hidden-size 4096
    --vocab-size 50304 --seq-length 2048 --max-position-embeddings 2048
    --position-embedding-type rope --untie-embeddings-and-output-weights
    --micro-batch-size 8 --global-batch-size 1024 --train-iters 143000
    --lr 3e-4 --min-lr 3e-5 --lr-warmup-iters 1430 --lr-decay-style cosine
    --weight-decay 0.1 --adam-beta1 0.9 --adam-beta2 0.95 --adam-eps 1e-8 --clip-grad 1.0
)
