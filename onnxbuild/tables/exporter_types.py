"""Model types that each exporter knows, by task. A test compares these tables with the libraries."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Failing(Struct, frozen=True, kw_only=True):
    """Model types that an exporter has in its table and does not export right, and why."""

    types: str  # separated by blanks
    reason: str
    ends: str = ""  # only tasks whose names end so

    def concerns(self, model_type: str, task: str) -> bool:
        """Whether the export of a model type for a task fails."""
        return model_type in self.types.split() and task.endswith(self.ends)


# optimum-onnx 0.1.0.
OPTIMUM: Mapping[str, str] = {
    "feature-extraction": """
        albert arcee audio-spectrogram-transformer bart beit bert big_bird bigbird_pegasus blenderbot
        blenderbot-small bloom camembert chinese_clip clip clip_vision_model codegen cohere colpali convbert
        convnext convnextv2 cvt data2vec-audio data2vec-text data2vec-vision deberta deberta-v2
        decision_transformer deepseek_v3 deit detr dinov2 distilbert donut-swin dpt efficientnet electra esm
        falcon flaubert gemma gemma2 gemma3 gemma3_text glm glpn gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj
        granite groupvit helium hiera hubert ibert imagegpt layoutlm layoutlmv3 levit lilt llama longformer
        longt5 m2m_100 marian markuplm maskformer mbart mctct megatron-bert metaclip_2 mgp-str mistral
        mobilebert mobilenet_v1 mobilenet_v2 mobilevit modernbert moonshine mpnet mpt mt5 nemotron nystromformer
        olmo olmo2 opt owlv2 owlvit patchtsmixer patchtst pegasus phi phi3 poolformer pvt qwen2 qwen3 qwen3_moe
        regnet rembert resnet roberta roformer sam segformer sew sew-d siglip siglip-text
        siglip-text-with-projection siglip_vision_model smollm3 speech_to_text splinter squeezebert stablelm
        swin swin2sr swinv2 t5 table-transformer trocr unispeech unispeech-sat visual_bert vit vit_mae vit_msn
        wav2vec2 wav2vec2-conformer wavlm whisper xlm xlm-roberta yolos
    """,
    "sentence-similarity": """
        albert arcee audio-spectrogram-transformer bart beit bert big_bird bigbird_pegasus blenderbot
        blenderbot-small bloom camembert chinese_clip clip clip_vision_model codegen cohere colpali convbert
        convnext convnextv2 cvt data2vec-audio data2vec-text data2vec-vision deberta deberta-v2
        decision_transformer deepseek_v3 deit detr dinov2 distilbert donut-swin dpt efficientnet electra esm
        falcon flaubert gemma gemma2 gemma3 gemma3_text glm glpn gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj
        granite groupvit helium hiera hubert ibert imagegpt layoutlm layoutlmv3 levit lilt llama longformer
        longt5 m2m_100 marian markuplm maskformer mbart mctct megatron-bert metaclip_2 mgp-str mistral
        mobilebert mobilenet_v1 mobilenet_v2 mobilevit modernbert moonshine mpnet mpt mt5 nemotron nystromformer
        olmo olmo2 opt owlv2 owlvit patchtsmixer patchtst pegasus phi phi3 poolformer pvt qwen2 qwen3 qwen3_moe
        regnet rembert resnet roberta roformer sam segformer sew sew-d siglip siglip-text
        siglip-text-with-projection siglip_vision_model smollm3 speech_to_text splinter squeezebert stablelm
        swin swin2sr swinv2 t5 table-transformer trocr unispeech unispeech-sat visual_bert vit vit_mae vit_msn
        wav2vec2 wav2vec2-conformer wavlm whisper xlm xlm-roberta yolos
    """,
    "fill-mask": """
        albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra esm flaubert
        ibert layoutlm longformer megatron-bert mobilebert modernbert mpnet nystromformer perceiver rembert
        roberta roformer squeezebert xlm xlm-roberta
    """,
    "text-classification": """
        albert bart bert big_bird bigbird_pegasus bloom camembert convbert data2vec-text deberta deberta-v2
        distilbert electra esm flaubert gemma gemma2 gemma3 gpt2 gpt_bigcode gpt_neo gpt_neox gptj ibert
        layoutlm layoutlmv3 lilt llama longformer markuplm mbart megatron-bert mistral mobilebert modernbert
        mpnet mpt nystromformer opt perceiver phi phi3 qwen2 qwen3 qwen3_moe rembert roberta roformer smollm3
        squeezebert xlm xlm-roberta
    """,
    "token-classification": """
        albert bert big_bird bloom camembert convbert data2vec-text deberta deberta-v2 distilbert electra esm
        falcon flaubert gpt2 gpt_bigcode ibert layoutlm layoutlmv3 lilt longformer markuplm megatron-bert
        mobilebert modernbert mpnet mpt nystromformer qwen2 qwen3_moe rembert roberta roformer squeezebert xlm
        xlm-roberta
    """,
    "question-answering": """
        albert bart bert big_bird bigbird_pegasus camembert convbert data2vec-text deberta deberta-v2 distilbert
        electra falcon flaubert gptj ibert layoutlmv3 lilt longformer markuplm mbart megatron-bert mobilebert
        mpnet nystromformer opt rembert roberta roformer splinter squeezebert xlm xlm-roberta
    """,
    "multiple-choice": """
        albert bert big_bird camembert convbert data2vec-text deberta-v2 distilbert electra flaubert ibert
        longformer megatron-bert mobilebert mpnet nystromformer rembert roberta roformer squeezebert xlm
        xlm-roberta
    """,
    "image-classification": """
        beit clip convnext convnextv2 cvt data2vec-vision deit dinov2 efficientnet hiera imagegpt levit
        metaclip_2 mobilenet_v1 mobilenet_v2 mobilevit perceiver poolformer pvt regnet resnet segformer swin
        swinv2 vit vit_msn
    """,
    "zero-shot-image-classification": """
        chinese_clip clip metaclip_2 siglip
    """,
    "audio-classification": """
        audio-spectrogram-transformer data2vec-audio hubert sew sew-d unispeech unispeech-sat wav2vec2
        wav2vec2-conformer wavlm whisper
    """,
    "text-generation": """
        arcee bart bigbird_pegasus blenderbot blenderbot-small bloom codegen cohere deepseek_v3 falcon gemma
        gemma2 gemma3 gemma3_text glm gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite helium internlm2
        llama marian mbart mistral mpt nemotron olmo olmo2 opt pegasus phi phi3 qwen2 qwen3 qwen3_moe smollm3
        stablelm
    """,
    "text-generation-with-past": """
        arcee bart bigbird_pegasus blenderbot blenderbot-small bloom codegen cohere deepseek_v3 falcon gemma
        gemma2 gemma3 gemma3_text glm gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite helium internlm2
        llama marian mbart mistral mpt nemotron olmo olmo2 opt pegasus phi phi3 qwen2 qwen3 qwen3_moe smollm3
        stablelm
    """,
    "text2text-generation": """
        bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder longt5 m2m_100 marian mbart mt5 pegasus
        t5
    """,
    "text2text-generation-with-past": """
        bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder longt5 m2m_100 marian mbart mt5 pegasus
        t5
    """,
    "automatic-speech-recognition": """
        data2vec-audio hubert mctct moonshine sew sew-d speech_to_text unispeech unispeech-sat wav2vec2
        wav2vec2-conformer wavlm whisper
    """,
    "automatic-speech-recognition-with-past": """
        moonshine speech_to_text whisper
    """,
    "image-to-text": "pix2struct vision-encoder-decoder",
    "image-to-text-with-past": "pix2struct vision-encoder-decoder",
}

# Classes of transformers 5.23.0; which of them were seen to export is in docs/reference/export.md.
TRANSFORMERS: Mapping[str, str] = {
    "feature-extraction": """
        afmoe aimv2 aimv2_vision_model albert align altclip apertus arcee aria aria_text
        audio-spectrogram-transformer audioflamingo3 audioflamingo3_encoder autoformer axk1 axk2 aya_vision
        bailing_hybrid bamba bark bart beam beit bert bert-generation big_bird bigbird_pegasus biogpt bit bitnet
        blenderbot blenderbot-small blip blip-2 blip_2_qformer bloom blt bridgetower bros camembert canary
        canine chameleon chinese_clip chinese_clip_vision_model clap clip clip_text_model clip_vision_model
        clipseg clvp codegen cohere cohere2 cohere2_moe cohere2_vision cohere_asr cohere_compass
        cohere_compass_text cohere_compass_vision conditional_detr convbert convnext convnextv2 cosmos3_edge
        cosmos3_edge_text cosmos3_edge_vision cosmos3_omni cpmant csm ctrl cvt cwm d_fine dab-detr dac
        data2vec-audio data2vec-text data2vec-vision dbrx deberta deberta-v2 decision_transformer deepseek_ocr2
        deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_vl deepseek_vl_hybrid deformable_detr deimv2
        deit depth_pro detr dia diffllama diffusion_gemma dinat dinov2 dinov2_with_registers dinov3_convnext
        dinov3_vit distilbert doge donut-swin dots1 dots3_note dots3_note_text dpr dpt edgetam edgetam_video
        edgetam_vision_model efficientloftr efficientnet electra embedding_gemma2 embedding_gemma2_text emu3
        encodec ernie ernie4_5 ernie4_5_moe ernie4_5_vl_moe esm esmc eurobert evolla exaone4 exaone4_5
        exaone4_5_vision exaone_moe falcon falcon_h1 falcon_mamba fast_vlm fastspeech2_conformer
        fastspeech2_conformer_with_hifigan flaubert flava flex_olmo flint florence2 fnet focalnet fsmt
        fun_asr_nano fun_asr_nano_encoder funnel fuyu gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_audio
        gemma3n_text gemma3n_vision gemma4 gemma4_audio gemma4_text gemma4_unified gemma4_unified_text
        gemma4_vision git glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe glm4v_moe_text glm4v_moe_vision
        glm4v_text glm4v_vision glm5_next glm5_next_text glm5_next_vision glm_image glm_image_text
        glm_image_vision glm_image_vqmodel glm_moe_dsa glm_ocr glm_ocr_text glm_ocr_vision glmasr glmasr_encoder
        glmga glpn got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj
        gradium_phonon_tts granite granite4_vision granite_docling granite_docling_text granite_docling_vision
        granite_speech granite_speech5_ctc granite_speech5_encoder granite_speech_plus granite_swa granitemoe
        granitemoe_swa granitemoehybrid granitemoeshared grounding-dino groupvit gte helium hgnet_v2 hiera
        higgs_audio_v2 higgs_audio_v2_tokenizer hrm_text hubert hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl
        hunyuan_vl_text hunyuan_vl_vision hy_v3 hy_v4 hyperclovax hyperclovax_vision_v2 ibert idefics idefics2
        idefics3 idefics3_vision ijepa imagegpt informer inkling2 inkling2_text inkling2_vision inkling_mm_model
        inkling_text instructblip instructblipvideo internlm3 internvl internvl_vision iquestcoder jais2 jamba
        janus jetmoe jina_embeddings_v3 kimi_k25 kimi_k25_vision kimi_linear kolibri1 kosmos-2 kosmos-2.5
        kyutai_speech_to_text laguna lasr_ctc lasr_encoder layoutlm layoutlmv2 layoutlmv3 led levit lfm2
        lfm2_moe lfm2_vl lfm3 lfm3_vl lfm3_vl_vision lightglue lighton_ocr lilt llama llama4 llama4_text llava
        llava_next llava_next_video llava_onevision longcat_flash longformer longt5 luke lw_detr lxmert m2m_100
        mamba mamba2 marian markuplm mask2former maskformer maskformer-swin mbart megatron-bert mellum
        metaclip_2 mgp-str mimi mimi_decoder mimi_encoder mimo_v2_flash minicpm3 minicpm_ocr minicpm_ocr_vision
        minicpmv4_6 minicpmv4_7 minicpmv4_7_vision minimax minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral
        ministral3 mistral mistral3 mistral4 mistral_large4 mistral_large4_text mixtral mlcd mlcd_vision_model
        mllama mm-grounding-dino mobilebert mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 modernbert
        modernbert-decoder modernvbert molmo2 molmo2_text moonshine moonshine_streaming moshi
        moss_transcribe_diarize moss_transcribe_diarize_audio mpnet mpt mra mt5 muse_glimmer
        muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision muse_spark muse_spark_audio muse_spark_text
        muse_spark_vision musicflamingo musicgen musicgen_melody mvp nanochat nemo_speechlm nemotron
        nemotron3_5_asr nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio
        nemotron3_5_transcribe_word_timestamp nemotron3_diarization nemotron3_diarization_audio
        nemotron_asr_streaming nemotron_asr_streaming_encoder nemotron_h neomme neucodec nllb-moe nomic_bert
        nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe omdet-turbo oneformer openai-gpt openai_privacy_filter
        opt ovis2 owlv2 owlvit paddleocr_vl paligemma parakeet_ctc parakeet_encoder parakeet_rnnt parakeet_tdt
        patchtsmixer patchtst pe_audio pe_audio_encoder pe_audio_video pe_audio_video_encoder pe_video
        pe_video_encoder pegasus pegasus_x perceiver perception_lm persimmon phi phi3 phi4_multimodal phimoe pi0
        pixio pixtral plbart pocket_tts pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
        pocket_tts_audio_tokenizer_encoder poolformer pp_doclayout_v3 pp_doclayout_v4 pp_ocrv5_mobile_rec
        pp_ocrv5_server_rec pp_ocrv6_medium_det pp_ocrv6_small_det pp_ocrv6_small_rec pp_ocrv6_tiny_rec
        prophetnet pvt pvt_v2 qianfan_ocr qianfan_ocr_vision qwen2 qwen2_5_omni_thinker qwen2_5_vl
        qwen2_5_vl_text qwen2_5_vl_vision qwen2_audio qwen2_audio_encoder qwen2_moe qwen2_vl qwen2_vl_text qwen3
        qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_moe_vision qwen3_5_text qwen3_5_vision qwen3_asr
        qwen3_asr_encoder qwen3_moe qwen3_next qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe qwen3_vl_moe_text
        qwen3_vl_moe_vision qwen3_vl_text qwen3_vl_vision qwen4_exp qwen4_exp_text qwen4_exp_vision radio
        recurrent_gemma reformer regnet rembert resnet rf_detr roberta roberta-prelayernorm roc_bert roformer
        rt_detr rt_detr_v2 rwkv sam sam2 sam2_hiera_det_model sam2_video sam2_vision_model sam3 sam3_lite_text
        sam3_lite_text_text_model sam3_tracker sam3_tracker_video sam3_video sam3_vision_model sam3_vit_model
        sam_hq sam_hq_vision_model sam_vision_model sapiens2 seamless_m4t seamless_m4t_v2 seed_oss segformer
        seggpt sew sew-d siglip siglip2 siglip2_vision_model siglip_vision_model smollm3 smolvlm smolvlm_vision
        solar_open speech_to_text speecht5 splinter squeezebert stablelm starcoder2 step3p7 swiftformer swin
        swin2sr swinv2 switch_transformers t5 t5gemma t5gemma2 t5gemma2_encoder table-transformer tapas textnet
        time_series_transformer timesfm timesfm2_5 timesformer timm_backbone timm_wrapper tipsv2
        tipsv2_text_model tipsv2_vision_model tvp udop ultrabert ultravbert umt5 unispeech unispeech-sat univnet
        unlimited_ocr uvdoc vaultgemma vibevoice vibevoice_acoustic_tokenizer
        vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder vibevoice_asr video_llama_3
        video_llama_3_vision video_llava videomae videoprism videoprism_vision_model vilt vipllava
        vision-text-dual-encoder visual_bert vit vit_mae vit_msn vitdet vits vivit vjepa2 voxtral
        voxtral_encoder voxtral_realtime voxtral_realtime_encoder voxtral_realtime_text wav2vec2 wav2vec2-bert
        wav2vec2-conformer wavlm whisper xclip xcodec xcodec2 xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm
        xmod yolos yoso youtu zamba zamba2 zaya
    """,
    "sentence-similarity": """
        afmoe aimv2 aimv2_vision_model albert align altclip apertus arcee aria aria_text
        audio-spectrogram-transformer audioflamingo3 audioflamingo3_encoder autoformer axk1 axk2 aya_vision
        bailing_hybrid bamba bark bart beam beit bert bert-generation big_bird bigbird_pegasus biogpt bit bitnet
        blenderbot blenderbot-small blip blip-2 blip_2_qformer bloom blt bridgetower bros camembert canary
        canine chameleon chinese_clip chinese_clip_vision_model clap clip clip_text_model clip_vision_model
        clipseg clvp codegen cohere cohere2 cohere2_moe cohere2_vision cohere_asr cohere_compass
        cohere_compass_text cohere_compass_vision conditional_detr convbert convnext convnextv2 cosmos3_edge
        cosmos3_edge_text cosmos3_edge_vision cosmos3_omni cpmant csm ctrl cvt cwm d_fine dab-detr dac
        data2vec-audio data2vec-text data2vec-vision dbrx deberta deberta-v2 decision_transformer deepseek_ocr2
        deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_vl deepseek_vl_hybrid deformable_detr deimv2
        deit depth_pro detr dia diffllama diffusion_gemma dinat dinov2 dinov2_with_registers dinov3_convnext
        dinov3_vit distilbert doge donut-swin dots1 dots3_note dots3_note_text dpr dpt edgetam edgetam_video
        edgetam_vision_model efficientloftr efficientnet electra embedding_gemma2 embedding_gemma2_text emu3
        encodec ernie ernie4_5 ernie4_5_moe ernie4_5_vl_moe esm esmc eurobert evolla exaone4 exaone4_5
        exaone4_5_vision exaone_moe falcon falcon_h1 falcon_mamba fast_vlm fastspeech2_conformer
        fastspeech2_conformer_with_hifigan flaubert flava flex_olmo flint florence2 fnet focalnet fsmt
        fun_asr_nano fun_asr_nano_encoder funnel fuyu gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_audio
        gemma3n_text gemma3n_vision gemma4 gemma4_audio gemma4_text gemma4_unified gemma4_unified_text
        gemma4_vision git glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe glm4v_moe_text glm4v_moe_vision
        glm4v_text glm4v_vision glm5_next glm5_next_text glm5_next_vision glm_image glm_image_text
        glm_image_vision glm_image_vqmodel glm_moe_dsa glm_ocr glm_ocr_text glm_ocr_vision glmasr glmasr_encoder
        glmga glpn got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj
        gradium_phonon_tts granite granite4_vision granite_docling granite_docling_text granite_docling_vision
        granite_speech granite_speech5_ctc granite_speech5_encoder granite_speech_plus granite_swa granitemoe
        granitemoe_swa granitemoehybrid granitemoeshared grounding-dino groupvit gte helium hgnet_v2 hiera
        higgs_audio_v2 higgs_audio_v2_tokenizer hrm_text hubert hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl
        hunyuan_vl_text hunyuan_vl_vision hy_v3 hy_v4 hyperclovax hyperclovax_vision_v2 ibert idefics idefics2
        idefics3 idefics3_vision ijepa imagegpt informer inkling2 inkling2_text inkling2_vision inkling_mm_model
        inkling_text instructblip instructblipvideo internlm3 internvl internvl_vision iquestcoder jais2 jamba
        janus jetmoe jina_embeddings_v3 kimi_k25 kimi_k25_vision kimi_linear kolibri1 kosmos-2 kosmos-2.5
        kyutai_speech_to_text laguna lasr_ctc lasr_encoder layoutlm layoutlmv2 layoutlmv3 led levit lfm2
        lfm2_moe lfm2_vl lfm3 lfm3_vl lfm3_vl_vision lightglue lighton_ocr lilt llama llama4 llama4_text llava
        llava_next llava_next_video llava_onevision longcat_flash longformer longt5 luke lw_detr lxmert m2m_100
        mamba mamba2 marian markuplm mask2former maskformer maskformer-swin mbart megatron-bert mellum
        metaclip_2 mgp-str mimi mimi_decoder mimi_encoder mimo_v2_flash minicpm3 minicpm_ocr minicpm_ocr_vision
        minicpmv4_6 minicpmv4_7 minicpmv4_7_vision minimax minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral
        ministral3 mistral mistral3 mistral4 mistral_large4 mistral_large4_text mixtral mlcd mlcd_vision_model
        mllama mm-grounding-dino mobilebert mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 modernbert
        modernbert-decoder modernvbert molmo2 molmo2_text moonshine moonshine_streaming moshi
        moss_transcribe_diarize moss_transcribe_diarize_audio mpnet mpt mra mt5 muse_glimmer
        muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision muse_spark muse_spark_audio muse_spark_text
        muse_spark_vision musicflamingo musicgen musicgen_melody mvp nanochat nemo_speechlm nemotron
        nemotron3_5_asr nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio
        nemotron3_5_transcribe_word_timestamp nemotron3_diarization nemotron3_diarization_audio
        nemotron_asr_streaming nemotron_asr_streaming_encoder nemotron_h neomme neucodec nllb-moe nomic_bert
        nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe omdet-turbo oneformer openai-gpt openai_privacy_filter
        opt ovis2 owlv2 owlvit paddleocr_vl paligemma parakeet_ctc parakeet_encoder parakeet_rnnt parakeet_tdt
        patchtsmixer patchtst pe_audio pe_audio_encoder pe_audio_video pe_audio_video_encoder pe_video
        pe_video_encoder pegasus pegasus_x perceiver perception_lm persimmon phi phi3 phi4_multimodal phimoe pi0
        pixio pixtral plbart pocket_tts pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
        pocket_tts_audio_tokenizer_encoder poolformer pp_doclayout_v3 pp_doclayout_v4 pp_ocrv5_mobile_rec
        pp_ocrv5_server_rec pp_ocrv6_medium_det pp_ocrv6_small_det pp_ocrv6_small_rec pp_ocrv6_tiny_rec
        prophetnet pvt pvt_v2 qianfan_ocr qianfan_ocr_vision qwen2 qwen2_5_omni_thinker qwen2_5_vl
        qwen2_5_vl_text qwen2_5_vl_vision qwen2_audio qwen2_audio_encoder qwen2_moe qwen2_vl qwen2_vl_text qwen3
        qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_moe_vision qwen3_5_text qwen3_5_vision qwen3_asr
        qwen3_asr_encoder qwen3_moe qwen3_next qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe qwen3_vl_moe_text
        qwen3_vl_moe_vision qwen3_vl_text qwen3_vl_vision qwen4_exp qwen4_exp_text qwen4_exp_vision radio
        recurrent_gemma reformer regnet rembert resnet rf_detr roberta roberta-prelayernorm roc_bert roformer
        rt_detr rt_detr_v2 rwkv sam sam2 sam2_hiera_det_model sam2_video sam2_vision_model sam3 sam3_lite_text
        sam3_lite_text_text_model sam3_tracker sam3_tracker_video sam3_video sam3_vision_model sam3_vit_model
        sam_hq sam_hq_vision_model sam_vision_model sapiens2 seamless_m4t seamless_m4t_v2 seed_oss segformer
        seggpt sew sew-d siglip siglip2 siglip2_vision_model siglip_vision_model smollm3 smolvlm smolvlm_vision
        solar_open speech_to_text speecht5 splinter squeezebert stablelm starcoder2 step3p7 swiftformer swin
        swin2sr swinv2 switch_transformers t5 t5gemma t5gemma2 t5gemma2_encoder table-transformer tapas textnet
        time_series_transformer timesfm timesfm2_5 timesformer timm_backbone timm_wrapper tipsv2
        tipsv2_text_model tipsv2_vision_model tvp udop ultrabert ultravbert umt5 unispeech unispeech-sat univnet
        unlimited_ocr uvdoc vaultgemma vibevoice vibevoice_acoustic_tokenizer
        vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder vibevoice_asr video_llama_3
        video_llama_3_vision video_llava videomae videoprism videoprism_vision_model vilt vipllava
        vision-text-dual-encoder visual_bert vit vit_mae vit_msn vitdet vits vivit vjepa2 voxtral
        voxtral_encoder voxtral_realtime voxtral_realtime_encoder voxtral_realtime_text wav2vec2 wav2vec2-bert
        wav2vec2-conformer wavlm whisper xclip xcodec xcodec2 xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm
        xmod yolos yoso youtu zamba zamba2 zaya
    """,
    "fill-mask": """
        albert bart bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie
        esm esmc eurobert flaubert fnet funnel gte ibert jina_embeddings_v3 layoutlm longformer luke mbart
        megatron-bert mobilebert modernbert modernvbert mpnet mra mvp neomme nomic_bert nystromformer perceiver
        reformer rembert roberta roberta-prelayernorm roc_bert roformer squeezebert tapas ultrabert ultravbert
        xlm xlm-roberta xlm-roberta-xl xmod yoso
    """,
    "text-classification": """
        albert arcee axk1 axk2 bart bert big_bird bigbird_pegasus biogpt bloom camembert canine
        cohere_compass_text convbert ctrl data2vec-text deberta deberta-v2 deepseek_v2 deepseek_v3 diffllama
        distilbert doge electra ernie esm esmc eurobert exaone4 falcon flaubert fnet funnel gemma gemma2 gemma3
        gemma3_text glm glm4 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj gte helium hunyuan_v1_dense
        hunyuan_v1_moe ibert jamba jetmoe jina_embeddings_v3 layoutlm layoutlmv2 layoutlmv3 lilt llama
        longformer luke markuplm mbart megatron-bert minicpm3 minimax ministral ministral3 mistral mistral4
        mixtral mobilebert modernbert modernbert-decoder modernvbert mpnet mpt mra mt5 mvp nemotron nomic_bert
        nystromformer olmo olmo2 olmo3 openai-gpt opt perceiver persimmon phi phi3 phimoe plbart qwen2 qwen2_moe
        qwen3 qwen3_5 qwen3_5_text qwen3_moe qwen3_next reformer rembert roberta roberta-prelayernorm roc_bert
        roformer seed_oss smollm3 squeezebert stablelm starcoder2 t5 t5gemma t5gemma2 tapas ultrabert ultravbert
        umt5 xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso zamba zamba2
    """,
    "token-classification": """
        albert apertus arcee axk1 axk2 bert big_bird biogpt bloom bros camembert canine convbert data2vec-text
        deberta deberta-v2 deepseek_v3 diffllama distilbert electra ernie esm esmc eurobert exaone4 falcon
        flaubert fnet funnel gemma gemma2 glm glm4 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gte helium
        ibert jina_embeddings_v3 layoutlm layoutlmv2 layoutlmv3 lilt llama longformer luke markuplm
        megatron-bert minimax ministral ministral3 mistral mistral4 mixtral mobilebert modernbert modernvbert
        mpnet mpt mra mt5 nemotron nomic_bert nystromformer openai_privacy_filter persimmon phi phi3 qwen2
        qwen2_moe qwen3 qwen3_5 qwen3_asr qwen3_moe qwen3_next rembert roberta roberta-prelayernorm roc_bert
        roformer seed_oss smollm3 squeezebert stablelm starcoder2 t5 t5gemma t5gemma2 ultrabert ultravbert umt5
        xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso
    """,
    "question-answering": """
        albert arcee bart bert big_bird bigbird_pegasus bloom camembert canine convbert data2vec-text deberta
        deberta-v2 diffllama distilbert electra ernie exaone4 falcon flaubert fnet funnel gpt2 gpt_neo gpt_neox
        gptj ibert jina_embeddings_v3 layoutlmv2 layoutlmv3 led lilt llama longformer luke lxmert markuplm mbart
        megatron-bert minimax ministral ministral3 mistral mixtral mobilebert modernbert mpnet mpt mra mt5 mvp
        nemotron nystromformer opt qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next reformer rembert roberta
        roberta-prelayernorm roc_bert roformer seed_oss smollm3 splinter squeezebert t5 ultrabert umt5 xlm
        xlm-roberta xlm-roberta-xl xlnet xmod yoso
    """,
    "multiple-choice": """
        albert bert big_bird camembert canine convbert data2vec-text deberta-v2 distilbert electra ernie
        flaubert fnet funnel ibert longformer luke megatron-bert mobilebert modernbert mpnet mra nystromformer
        rembert roberta roberta-prelayernorm roc_bert roformer squeezebert xlm xlm-roberta xlm-roberta-xl xlnet
        xmod yoso
    """,
    "image-classification": """
        beit bit clip convnext convnextv2 cvt data2vec-vision deit dinat dinov2 dinov2_with_registers donut-swin
        efficientnet focalnet hgnet_v2 hiera ijepa imagegpt levit metaclip_2 mobilenet_v1 mobilenet_v2 mobilevit
        mobilevitv2 perceiver poolformer pp_lcnet pvt pvt_v2 regnet resnet segformer shieldgemma2 siglip siglip2
        swiftformer swin swinv2 textnet timm_wrapper vit vit_msn
    """,
    "zero-shot-image-classification": """
        align altclip blip blip-2 chinese_clip clip clipseg metaclip_2 siglip siglip2 tipsv2 videoprism
    """,
    "audio-classification": """
        audio-spectrogram-transformer data2vec-audio hubert sew sew-d unispeech unispeech-sat wav2vec2
        wav2vec2-bert wav2vec2-conformer wavlm whisper
    """,
    "text-generation": """
        afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba bart beam bert bert-generation big_bird
        bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom blt camembert codegen cohere cohere2
        cohere2_moe cohere_compass_text cpmant ctrl cwm data2vec-text dbrx deepseek_v2 deepseek_v3 deepseek_v32
        deepseek_v4 diffllama doge dots1 dots3_note dots3_note_text electra emu3 ernie ernie4_5 ernie4_5_moe
        exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text
        gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified gemma4_unified_assistant
        gemma4_unified_text git glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa got_ocr2 gpt-sw3 gpt2 gpt_bigcode
        gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
        granitemoehybrid granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4
        hyperclovax inkling2_text inkling_text internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1
        laguna lfm2 lfm2_moe lfm3 llama llama4 llama4_text longcat_flash mamba mamba2 marian mbart megatron-bert
        mellum mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral
        mllama modernbert-decoder moshi moss_transcribe_diarize mpt musicgen musicgen_melody mvp nanochat
        nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt pegasus persimmon phi phi3
        phi4_multimodal phimoe plbart prophetnet qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text
        qwen3_5_text qwen3_moe qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma reformer rembert roberta
        roberta-prelayernorm roc_bert roformer rwkv seed_oss smollm3 solar_open stablelm starcoder2 trocr
        vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod youtu zamba zamba2 zaya
    """,
    "text-generation-with-past": """
        afmoe apertus arcee aria_text axk1 axk2 bailing_hybrid bamba bart beam bert bert-generation big_bird
        bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom blt camembert codegen cohere cohere2
        cohere2_moe cohere_compass_text cpmant ctrl cwm data2vec-text dbrx deepseek_v2 deepseek_v3 deepseek_v32
        deepseek_v4 diffllama doge dots1 dots3_note dots3_note_text electra emu3 ernie ernie4_5 ernie4_5_moe
        exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text
        gemma3n gemma3n_text gemma4 gemma4_assistant gemma4_text gemma4_unified gemma4_unified_assistant
        gemma4_unified_text git glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa got_ocr2 gpt-sw3 gpt2 gpt_bigcode
        gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
        granitemoehybrid granitemoeshared helium hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 hy_v4
        hyperclovax inkling2_text inkling_text internlm3 iquestcoder jais2 jamba jetmoe kimi_linear kolibri1
        laguna lfm2 lfm2_moe lfm3 llama llama4 llama4_text longcat_flash mamba mamba2 marian mbart megatron-bert
        mellum mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mixtral
        mllama modernbert-decoder moshi moss_transcribe_diarize mpt musicgen musicgen_melody mvp nanochat
        nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt opt pegasus persimmon phi phi3
        phi4_multimodal phimoe plbart prophetnet qwen2 qwen2_moe qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text
        qwen3_5_text qwen3_moe qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma reformer rembert roberta
        roberta-prelayernorm roc_bert roformer rwkv seed_oss smollm3 solar_open stablelm starcoder2 trocr
        vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod youtu zamba zamba2 zaya
    """,
    "text2text-generation": """
        audioflamingo3 bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt glmasr
        granite_speech granite_speech_plus led longt5 m2m_100 marian mbart moss_transcribe_diarize mt5
        musicflamingo mvp nemo_speechlm nllb-moe pegasus pegasus_x plbart prophetnet qwen2_audio qwen3_asr
        seamless_m4t seamless_m4t_v2 switch_transformers t5 t5gemma t5gemma2 umt5 vibevoice_asr voxtral
        voxtral_realtime
    """,
    "text2text-generation-with-past": """
        audioflamingo3 bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt glmasr
        granite_speech granite_speech_plus led longt5 m2m_100 marian mbart moss_transcribe_diarize mt5
        musicflamingo mvp nemo_speechlm nllb-moe pegasus pegasus_x plbart prophetnet qwen2_audio qwen3_asr
        seamless_m4t seamless_m4t_v2 switch_transformers t5 t5gemma t5gemma2 umt5 vibevoice_asr voxtral
        voxtral_realtime
    """,
    "automatic-speech-recognition": """
        canary cohere_asr data2vec-audio dia fun_asr_nano granite_speech granite_speech5_ctc granite_speech_plus
        hubert kyutai_speech_to_text lasr_ctc moonshine moonshine_streaming parakeet_ctc pop2piano qwen3_asr
        seamless_m4t seamless_m4t_v2 sew sew-d speech-encoder-decoder speech_to_text speecht5 unispeech
        unispeech-sat vibevoice vibevoice_asr voxtral voxtral_realtime wav2vec2 wav2vec2-bert wav2vec2-conformer
        wavlm whisper
    """,
    "automatic-speech-recognition-with-past": """
        canary cohere_asr dia fun_asr_nano granite_speech granite_speech_plus kyutai_speech_to_text moonshine
        moonshine_streaming pop2piano qwen3_asr seamless_m4t seamless_m4t_v2 speech-encoder-decoder
        speech_to_text speecht5 vibevoice vibevoice_asr voxtral voxtral_realtime whisper
    """,
    # Other models of images and text read both together, or patches: no inputs to trace them with can be made.
    "image-to-text": "vision-encoder-decoder",
    "image-to-text-with-past": "vision-encoder-decoder",
}

_MASKS_AT_RANDOM = Failing(types="vit_mae", reason="its graph hides other patches in each run")

# optimum-onnx 0.1.0.
OPTIMUM_FAILS: tuple[Failing, ...] = (
    _MASKS_AT_RANDOM,
    Failing(types="longformer", reason="its graph has the number of windows and of rows that the sample has"),
    Failing(
        types="trocr", reason="it is the decoder of another model, which transformers loads for no task of optimum"
    ),
)

# transformers 5.23.
TRANSFORMERS_FAILS: tuple[Failing, ...] = (
    _MASKS_AT_RANDOM,
    Failing(
        types="minimax xlstm",
        reason="its loop over the text is frozen at the length of the sample",
    ),
    Failing(
        types="mamba falcon_mamba zamba deepseek_v4 recurrent_gemma rwkv",
        reason="its past is more than what a graph can take",
        ends="-with-past",
    ),
    Failing(
        types="openai-gpt xlnet",
        reason="the model itself keeps no keys and values",
        ends="-with-past",
    ),
    Failing(types="cpmant", reason="the model itself fails with its past", ends="-with-past"),
    Failing(
        types="git", reason="its past has a picture before the text, which the graph does not take", ends="-with-past"
    ),
    Failing(
        types="canine funnel led prophetnet reformer",
        reason="what it computes depends on the length of the text in a way that is fixed",
    ),
    Failing(
        types=(
            "clap dia fun_asr_nano kyutai_speech_to_text lxmert pop2piano shieldgemma2 siglip2 vibevoice videoprism "
            "voxtral_realtime"
        ),
        reason="no inputs can be made to trace it with",
    ),
    Failing(types="blt", reason="it reads patches of bytes, whose number depends on what it computes"),
    Failing(types="qwen4_exp qwen4_exp_text", reason="a branch depends on how many blocks of the text it has indexed"),
)

# onnxruntime-genai 0.18.
GENAI_FAILS: tuple[Failing, ...] = (
    Failing(types="lfm2 lfm2_moe", reason="the graph takes its past under names that only genai knows"),
    Failing(types="granitemoehybrid", reason="its builder expects attention in every layer"),
)

# mobius 0.1.0: the types of its registry of which a small random checkpoint with unequal sizes agrees with PyTorch of
# transformers 5.23 in every check of `validate`. It registers some 200 more of transformers' types: those that were
# tried failed, and the others are several graphs or have other tasks.
MOBIUS: Mapping[str, str] = {
    "feature-extraction": "bert ernie siglip_vision_model vit vit_msn",
    "text-generation-with-past": """
        apertus arcee flex_olmo gemma gemma2 gpt2 gpt_bigcode gpt_neo gpt_neox granite granitemoe granitemoeshared llama
        ministral ministral3 mistral mixtral nemotron olmo olmo2 olmo3 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_5_text
        qwen3_moe qwen3_next smollm3 stablelm starcoder2
    """,
}

# The architectures of `onnxruntime_genai.models.builder` 0.18 that are decoders of text and nothing else.
GENAI: Mapping[str, str] = {
    "text-generation-with-past": """
        chatglm ernie4_5 gemma gemma2 gemma3_text gpt_oss granite granitemoehybrid hunyuan_v1_dense internlm2 lfm2
        lfm2_moe llama mistral nemotron olmo phi phi3 phimoe qwen2 qwen3 smollm3
    """,
}

# timm 1.0.31, and sentence-transformers 5.7.0 without a transformer; `checkpoints/other_libraries` has the types.
TIMM: Mapping[str, str] = {"image-classification": "timm_wrapper", "feature-extraction": "timm_wrapper"}

SENTENCE_TRANSFORMERS: Mapping[str, str] = {
    "feature-extraction": "static_embedding",
    "sentence-similarity": "static_embedding",
}
